import pytest
import torch

from methods.conversions import CONVENTIONS, omega, scale
from methods.distill import METHODS, NEG, NOISE, PARTICLE, TEXT, UNCOND, direction

G = torch.Generator().manual_seed(0)
P = {
    name: torch.randn(2, 3, 4, 4, generator=G, dtype=torch.float64)
    for name in (TEXT, UNCOND, NOISE, PARTICLE, NEG)
}
TIMES = torch.tensor([300, 700])


def from_text(s):
    return P[TEXT] + s * (P[TEXT] - P[UNCOND])


def from_uncond(s):
    return P[UNCOND] + s * (P[TEXT] - P[UNCOND])


# What each source computes, written as the source writes it, with its own number.
SOURCES = {
    "csd_paper": ("sds", 40.0, lambda s: from_text(s) - P[NOISE]),
    "dreamfusion": ("sds", 100.0, lambda s: (1 + s) * P[TEXT] - s * P[UNCOND] - P[NOISE]),
    "threestudio_sds": ("sds", 20.0, lambda s: from_text(s) - P[NOISE]),
    # Beside the push, whose scale test_methods_perp_neg.py holds.
    "threestudio_perp_neg": ("sds", 20.0, lambda s: from_uncond(s) - P[NOISE]),
    "threestudio_vsd": ("vsd", 7.5, lambda s: from_uncond(s) - P[PARTICLE]),
    "prolificdreamer": ("vsd", 7.5, lambda s: from_uncond(s) - P[PARTICLE]),
    "stable_dreamfusion": ("sds", 100.0, lambda s: from_uncond(s) - P[NOISE]),
    "csd_code": ("sds", 7.5, lambda s: s * P[TEXT] + (1 - s) * P[UNCOND] - P[NOISE]),
    "nfsd": ("nfsd", 7.5, lambda s: s * (P[TEXT] - P[UNCOND]) + P[UNCOND] - P[NEG]),
    "diffusers": ("sds_uncentred", 7.5, from_uncond),
}


def test_every_convention_is_held_against_its_source():
    assert set(SOURCES) == set(CONVENTIONS)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_converted_omega_gives_the_sources_gradient(convention):
    method, number, source = SOURCES[convention]
    settings = {"omega": omega(number, convention)}
    if method == "nfsd":
        settings["neg_from"] = 200
    got = direction(METHODS[method].make(**settings)(0, TIMES), P)
    assert torch.allclose(got, source(number), rtol=0, atol=1e-10)
    if CONVENTIONS[convention]:
        wrong = settings | {"omega": number}
        assert not torch.allclose(
            direction(METHODS[method].make(**wrong)(0, TIMES), P), source(number)
        )


def test_no_guidance_in_every_convention():
    """Omega 0 is the text prediction alone: scale 0 in one form and 1 in the other."""
    assert {scale(0.0, c) for c in CONVENTIONS} == {0.0, 1.0}
    assert omega(1.0, "diffusers") == 0.0
    assert omega(7.5, "prolificdreamer") == 6.5
    assert omega(100, "dreamfusion") == 100


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_scale_undoes_omega(convention):
    assert omega(scale(3.25, convention), convention) == 3.25


def test_unknown_conventions_are_refused():
    with pytest.raises(ValueError, match="unknown convention 'imagen': choose one of csd_paper"):
        omega(1.0, "imagen")
    with pytest.raises(ValueError, match="unknown convention"):
        scale(1.0, "imagen")
