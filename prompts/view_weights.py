"""`views.perp_neg_prompts` for a batch of cameras: shares and weights as tensors over view words.

With `E` the embeddings of one prompt under each of `VIEW_WORDS`, (4, ...), the interpolated text
condition of a batch is `positive @ E`, and its negatives are `E[negative_index]`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from prompts.views import VIEW_WORDS, Falloff, PerpNegFalloffs

FRONT, SIDE, BACK, OVERHEAD = (VIEW_WORDS.index(w) for w in ("front", "side", "back", "overhead"))


class ViewWeights(NamedTuple):
    """Rows of `positive` sum to 1; the last axis of `negative_index` and `weights` is negatives."""

    positive: Float[Tensor, "b 4"]
    negative_index: Int[Tensor, "b 2"]
    weights: Float[Tensor, "b 2"]


def perp_neg_view_weights(
    azimuth_deg: Float[Tensor, " b"],
    elevation_deg: Float[Tensor, " b"],
    *,
    overhead: float = 60.0,
    falloffs: PerpNegFalloffs | None = None,
) -> ViewWeights:
    """What `perp_neg_prompts` says of each camera, with no loop over the batch."""
    f = falloffs or PerpNegFalloffs()
    azimuth = (torch.remainder(azimuth_deg + 180.0, 360.0) - 180.0).abs()
    in_front = azimuth < 90.0
    r = torch.where(in_front, 1.0, 2.0) - azimuth / 90.0

    positive = torch.zeros(len(r), len(VIEW_WORDS), dtype=r.dtype, device=r.device)
    positive[:, FRONT] = torch.where(in_front, r, 0.0)
    positive[:, SIDE] = torch.where(in_front, 1.0 - r, r)
    positive[:, BACK] = torch.where(in_front, 0.0, 1.0 - r)
    front_half = torch.stack([-_at(f.front_side, r), -_at(f.side_front, 1.0 - r)], dim=-1)
    back_half = torch.stack([-_at(f.side_back, r), -_at(f.front_side_back, r)], dim=-1)
    weights = torch.where(in_front[:, None], front_half, back_half)
    order = torch.tensor([[SIDE, FRONT], [FRONT, SIDE]], device=r.device)

    above = elevation_deg > overhead
    only_overhead = torch.eye(len(VIEW_WORDS), dtype=r.dtype, device=r.device)[OVERHEAD]
    return ViewWeights(
        positive=torch.where(above[:, None], only_overhead, positive),
        negative_index=order[(in_front | above).long()],
        weights=torch.where(above[:, None], 0.0, weights),
    )


def _at(falloff: Falloff, share: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    return falloff.scale * torch.exp(-falloff.rate * share) + falloff.offset
