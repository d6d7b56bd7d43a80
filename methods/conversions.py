"""Guidance scales of other sources as the omega of this project: text + omega (text - uncond).

Sources write classifier-free guidance in two forms. One starts from the text prediction, as we do;
the other from the unconditional one, uncond + s (text - uncond), where s = 1 + omega and s = 1
means no guidance. threestudio uses both: the first in plain SDS, the second as soon as Perp-Neg is
on and in VSD, so that one number in its configs has two meanings.
"""

# What is added to a source's scale to give omega.
CONVENTIONS: dict[str, float] = {
    "csd_paper": 0.0,  # eq. 6 of arXiv 2310.19415
    "dreamfusion": 0.0,  # (1 + omega) text - omega uncond; its scale is 100
    "threestudio_sds": 0.0,  # plain SDS and SJC: text + s (text - uncond)
    "threestudio_perp_neg": -1.0,  # uncond + s (text - uncond + push)
    "threestudio_vsd": -1.0,
    "prolificdreamer": -1.0,  # its scale is 7.5
    "stable_dreamfusion": -1.0,
    "csd_code": -1.0,  # its free form of SDS: s text + (1 - s) uncond - noise
    "nfsd": -1.0,  # s delta_C + uncond - ...; its scale is 7.5
    "diffusers": -1.0,
}


def omega(scale: float, convention: str) -> float:
    """The omega that means what `scale` means at the source. ValueError for unknown conventions."""
    return scale + _offset(convention)


def scale(omega: float, convention: str) -> float:
    """The source's number for our omega; undoes `omega`."""
    return omega - _offset(convention)


def _offset(convention: str) -> float:
    if convention not in CONVENTIONS:
        raise ValueError(
            f"unknown convention {convention!r}: choose one of {', '.join(CONVENTIONS)}"
        )
    return CONVENTIONS[convention]
