"""torchvision imports, whatever it was linked against; where it is missing, that is said."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TWICE = """
from pipeline.torchvision_shim import ensure_torchvision
ensure_torchvision()
ensure_torchvision()
import torch, torchvision.transforms.functional as functional
assert functional.resize(torch.ones(3, 4, 4), [2, 2]).shape == (3, 2, 2)
"""
MISSING = """
import sys
sys.modules["torchvision"] = None  # as where it is not installed
from pipeline.torchvision_shim import ensure_torchvision
try:
    ensure_torchvision()
except ImportError as error:
    assert "torchvision" in str(error)
else:
    raise SystemExit(1)
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_torchvision_works_after_one_call_or_two():
    done = _run(TWICE)
    assert done.returncode == 0, done.stderr


def test_a_missing_torchvision_is_an_import_error():
    done = _run(MISSING)
    assert done.returncode == 0, done.stderr
