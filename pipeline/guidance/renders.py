"""A set of renders from which many Gaussian means are composed without being stored.

Letters: premultiplied rgb P and opacity A of a render, background b in [0, 1]; seen by the
network, the render is 2 (P + (1 - A) b) - 1 = beta + d with beta = 2 b - 1 and d = 2 (P - A b).
d vanishes beside the object, so products with d need only the pixels that some render touches, and
stay small in float32.
A render can be shared by several colours c: P = base + tint * rgb_c.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Renders:
    """R renders in C colours each = R * C components, render-major; p pixels are stored.

    `features` holds base rgb and opacity; `tint` and `rgb` are None when C = 1 and the colour is
    already in the base. The last three are sums over pixels: |P|^2, P A per channel, A^2.
    """

    pixels: Int[Tensor, " p"]
    features: Float[Tensor, "R 4*p"]
    tint: Float[Tensor, "R p"] | None
    rgb: Float[Tensor, "R C 3"] | None
    squared: Float[Tensor, "R C"]
    overlap: Float[Tensor, "R C 3"]
    opacity: Float[Tensor, " R"]

    def products(
        self, y: Float[Tensor, "b 3 hw"], background: Float[Tensor, "b 3"]
    ) -> Float[Tensor, "b n"]:
        """<y, d_i> for every component i: one matmul, a small one for shared renders."""
        crop = y[:, :, self.pixels]
        behind = -(background[:, :, None] * crop).sum(1, keepdim=True)
        products = (torch.cat([crop, behind], 1).flatten(1) @ self.features.T)[:, :, None]
        if self.tint is not None and self.rgb is not None:
            tinted = (crop.flatten(0, 1) @ self.tint.T).unflatten(0, crop.shape[:2])
            products = products + torch.einsum("bjr,rcj->brc", tinted, self.rgb)
        return 2.0 * products.flatten(1)

    def squared_norms(self, background: Float[Tensor, "b 3"]) -> Float[Tensor, "b n"]:
        """|d_i|^2 for every component i, from the stored moments."""
        overlap = torch.einsum("rcj,bj->brc", self.overlap, background)
        behind = self.opacity * background.square().sum(1, keepdim=True)
        return 4.0 * (self.squared - 2.0 * overlap + behind[:, :, None]).flatten(1)

    def add_means(
        self,
        total: Float[Tensor, "m 3 hw"],
        weights: Float[Tensor, "m n"],
        background: Float[Tensor, "m 3"],
    ) -> None:
        """Adds sum_i weights_i d_i to each row of `total`; what has no weight costs nothing."""
        table = weights.unflatten(-1, self.squared.shape)  # (m, R, C)
        rows = torch.nonzero(table.amax((1, 2))).flatten()
        table = table[rows]
        kept = torch.nonzero(table.amax((0, 2))).flatten() if len(rows) else rows
        if not len(kept):
            return
        features, tint, rgb = self.features, self.tint, self.rgb
        if 2 * len(kept) < len(features):  # beyond that, copying rows costs more than it saves
            table, features = table[:, kept], features[kept]
            tint = None if tint is None else tint[kept]
            rgb = None if rgb is None else rgb[kept]
        mean = (table.sum(-1) @ features).unflatten(1, (4, -1))
        shade = mean[:, :3] - mean[:, 3:] * background[rows, :, None]
        if tint is not None and rgb is not None:
            colour = torch.einsum("mrc,rcj->mjr", table, rgb)
            shade = shade + (colour.flatten(0, 1) @ tint).view_as(shade)
        total[rows[:, None], :, self.pixels] += 2.0 * shade.transpose(1, 2)


def composed(
    base: Float[Tensor, "R 4 hw"],
    tint: Float[Tensor, "R hw"],
    rgb: Float[Tensor, "R C 3"],
    dtype: torch.dtype,
) -> Renders:
    """The renders in their colours, cropped to the pixels that any of them touches.

    base: premultiplied rgb of the parts of fixed colour, and opacity; tint: premultiplied shade of
    the parts whose colour varies. Moments are summed in float64: large numbers cancel in them.
    """
    touched = (base != 0).any(1).any(0) | (tint != 0).any(0)
    pixels = torch.nonzero(touched).flatten()
    base, tint = base[:, :, pixels].double(), tint[:, pixels].double()
    rgb = rgb.double()
    if rgb.shape[1] == 1:
        base = torch.cat([base[:, :3] + tint[:, None] * rgb[:, 0, :, None], base[:, 3:]], 1)
        tint, rgb = torch.zeros_like(tint), torch.zeros_like(rgb)
    fixed, opacity = base[:, :3], base[:, 3]
    cross = torch.einsum("rjp,rp->rj", fixed, tint)
    squared = fixed.square().sum((1, 2))[:, None] + (
        2.0 * torch.einsum("rj,rcj->rc", cross, rgb)
        + tint.square().sum(1)[:, None] * rgb.square().sum(2)
    )
    overlap = torch.einsum("rjp,rp->rj", fixed, opacity)[:, None] + (
        rgb * (tint * opacity).sum(1)[:, None, None]
    )
    shared = rgb.shape[1] > 1
    return Renders(
        pixels=pixels,
        features=base.flatten(1).to(dtype),
        tint=tint.to(dtype) if shared else None,
        rgb=rgb.to(dtype) if shared else None,
        squared=squared.to(dtype),
        overlap=overlap.to(dtype),
        opacity=opacity.square().sum(1).to(dtype),
    )
