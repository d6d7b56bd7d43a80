"""torchvision imports beside a CPU build of torch.

The torchvision wheel on PyPI is linked against CUDA libraries. Beside a CPU torch its compiled
operators do not load, and then `import torchvision` fails because two of them are registered by
name at import time. transformers, diffusers, timm and open_clip all import it. Declaring the two
names is enough: nothing here uses box operators. Where torchvision works, this does nothing.
"""

import sys
from typing import Any

_library: Any = None  # torch.library removes the declarations when this is collected


def ensure_torchvision() -> None:
    """After this call `import torchvision` works. Raises ImportError when it is not installed."""
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _library is not None:
            raise
        import torch

        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "FRAGMENT")
        boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        _library.define("nms" + boxes)
        _library.define("qnms" + boxes)
        import torchvision  # noqa: F401
