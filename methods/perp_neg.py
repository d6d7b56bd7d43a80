"""Perp-Neg: push away from other views, but only across the wanted direction.

Armandpour et al., arXiv 2304.04968. It is the one addition that is not a row of coefficients: it
projects. With text and views relative to a reference prediction,

    push = sum_i w_i (v_i - <v_i, p> / <p, p> p),    p = text - reference,  v_i = view_i - reference

and `scale * push` is added to a method's direction. The original takes the empty prompt as
reference and, with guidance uncond + s (p + push), the scale s = 1 + omega; the released code of
classifier score distillation takes the negative prompt and scale 3. The w_i are negative; see
`prompts.view_weights`.
"""

from jaxtyping import Float
from torch import Tensor

from methods.distill import NEG, TEXT, UNCOND

REFERENCES: dict[str, str] = {"neg": NEG, "null": UNCOND}


def needed(reference: str) -> list[str]:
    """The predictions the projection uses beside the views, whatever the method's coefficients."""
    if reference not in REFERENCES:
        raise ValueError(
            f"Perp-Neg's reference must be one of {', '.join(REFERENCES)}, not {reference!r}"
        )
    return [TEXT, REFERENCES[reference]]


def perp_neg(
    text: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    views: Float[Tensor, "b n c h w"],
    weights: Float[Tensor, "b n"],
) -> Float[Tensor, "b c h w"]:
    """The weighted sum of the views' parts across the text direction, sample by sample.

    `views[i, j]` is the prediction for negative view j at the noisy input of sample i. A network
    that ran view by view gives (n, b, ...): transpose it, since a reshape would pair samples with
    the views of others whenever b > 1.
    """
    wanted = text - reference
    return (weights[:, :, None, None, None] * across(views - reference[:, None], wanted)).sum(1)


def across(
    x: Float[Tensor, "b n c h w"], y: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b n c h w"]:
    """x minus its projection on y; x itself where y vanishes.

    The floor of 1e-6 under <y, y> is threestudio's.
    """
    y = y[:, None]
    inner = (x * y).sum((-3, -2, -1), keepdim=True)
    return x - inner / (y * y).sum((-3, -2, -1), keepdim=True).clamp(min=1e-6) * y
