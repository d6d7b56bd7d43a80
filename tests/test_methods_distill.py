import pytest
import torch
from torch import Tensor

from methods.distill import (
    METHODS,
    NAMES,
    NEG,
    NOISE,
    PARTICLE,
    SOURCE_TEXT,
    SOURCE_UNCOND,
    TEXT,
    UNCOND,
    direction,
    needed,
)
from methods.schedules import OMEGA_2

SETTINGS = {
    "sds": {"omega": 7.5},
    "sds_uncentred": {"omega": 7.5},
    "csd": {},
    "csd_neg": {"omega_1": 1.0, "omega_2": OMEGA_2["nerf"]},
    "csd_edit": {"omega_1": 1.0, "omega_2": 0.5},
    "dds": {"omega": 7.3},
    "dds_omega0": {},
    "dds_no_cls": {"omega": 7.5},
    "dds_cls": {"omega": 7.5},
    "vsd": {"omega": 6.5},
    "nfsd": {"omega": 6.5, "neg_from": 200},
}
T = torch.tensor([10, 300, 990])


def predictions(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(3, 3, 4, 5, generator=generator, dtype=torch.float64).to(dtype)
        for name in NAMES
    }


def row(name: str, step: int = 0, **settings) -> dict[str, Tensor]:
    return METHODS[name].make(**(SETTINGS[name] | settings))(step, T)


def close(a: Tensor, b: Tensor) -> bool:
    # Sums of a few terms of size about 10 in float32: 1e-4 is a hundred rounding errors.
    return torch.allclose(a, b, rtol=0, atol=1e-4)


# --- rows ----------------------------------------------------------------------------------------


def test_every_method_is_listed_under_its_own_name():
    assert set(METHODS) == set(SETTINGS)
    assert all(METHODS[name].name == name for name in METHODS)
    assert all(method.version >= 1 and "text" in method.equation for method in METHODS.values())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("step", [0, 1, 2500, 5000, 9999])
def test_rows_have_one_float_per_sample_of_known_predictions(name, step):
    coefficients = row(name, step)
    assert set(coefficients) <= set(NAMES)
    assert all(c.shape == T.shape and c.dtype == torch.float32 for c in coefficients.values())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("step", [0, 1, 2500, 5000, 9999])
def test_centred_rows_sum_to_zero_and_the_others_do_not(name, step):
    sums = torch.stack([*row(name, step).values()]).sum(0)
    # float32 rounding of coefficients up to 8.5
    assert bool((sums.abs() < 2e-6).all()) == METHODS[name].centred


def test_the_sums_of_the_uncentred_rows():
    assert torch.stack([*row("sds_uncentred").values()]).sum(0).tolist() == [1, 1, 1]
    assert torch.stack([*row("nfsd").values()]).sum(0).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("sds", 0, {TEXT: 8.5, UNCOND: -7.5, NOISE: -1}),
        ("csd", 0, {TEXT: 1, UNCOND: -1}),
        ("csd_neg", 2500, {TEXT: 1, UNCOND: -0.5, NEG: -0.5}),
        ("csd_edit", 77, {TEXT: 1, UNCOND: -0.5, NEG: -0.5}),
        ("vsd", 0, {TEXT: 7.5, UNCOND: -6.5, PARTICLE: -1}),
        ("dds_omega0", 0, {TEXT: 1, SOURCE_TEXT: -1}),
        ("dds_no_cls", 0, {TEXT: 1, SOURCE_TEXT: -8.5, SOURCE_UNCOND: 7.5}),
        ("dds_cls", 0, {TEXT: 7.5, UNCOND: -7.5}),
    ],
)
def test_the_table_of_coefficients(name, step, expected):
    coefficients = row(name, step)
    assert {k: v.tolist() for k, v in coefficients.items()} == {
        k: [float(v)] * 3 for k, v in expected.items()
    }


@pytest.mark.parametrize(
    ("stage", "neg", "null"),
    [
        # [start, first, last, end] of the released configs: csd-if.yaml:82-84 and
        # csd-sd-refine.yaml:81-83, whose text coefficient is 1.
        ("nerf", (0, 0.0, -1.0, 5000), (0, -1.0, 0.0, 5000)),
        ("mesh", (0, -1.0, -0.5, 10000), (0, 0.0, -0.5, 10000)),
    ],
)
def test_annealed_negative_prompts_are_those_of_the_released_code(stage, neg, null):
    def at(step: int, start: float, first: float, last: float, end: float) -> float:
        return first + (last - first) * min(max((step - start) / (end - start), 0), 1)

    for step in (0, 1, 777, 2500, 4999, 5000, 5001, 9999, 10000, 20000):
        coefficients = row("csd_neg", step, omega_2=OMEGA_2[stage])
        assert coefficients[TEXT].tolist() == [1, 1, 1]
        assert coefficients[NEG][0].item() == pytest.approx(at(step, *neg), abs=1e-6)
        assert coefficients[UNCOND][0].item() == pytest.approx(at(step, *null), abs=1e-6)


def test_nfsd_decides_sample_by_sample():
    coefficients = METHODS["nfsd"].make(omega=6.5, neg_from=200)(0, torch.tensor([199, 200, 201]))
    assert coefficients[NEG].tolist() == [0, -1, -1]
    p = predictions()
    delta_c = p[TEXT] - p[UNCOND]
    expected = 7.5 * delta_c + torch.stack(
        [p[UNCOND][0], *(p[UNCOND] - p[NEG])[1:]]
    )  # s delta_C + delta_D with the source's s = 7.5
    assert close(direction(coefficients, p), expected)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sds", {"omega": "7.5"}),
        ("sds", {"omega": float("nan")}),
        ("sds", {"omega": True}),
        ("vsd", {"omega": None}),
        ("dds", {"omega": float("inf")}),
        ("dds_no_cls", {"omega": "1"}),
        ("dds_cls", {"omega": "1"}),
        ("nfsd", {"neg_from": "200"}),
        ("csd_neg", {"omega_1": "1"}),
        ("csd_neg", {"omega_2": [0, 1]}),
        ("csd_edit", {"omega_2": "0.5"}),
    ],
)
def test_settings_that_are_not_numbers_are_named(name, settings):
    (key,) = settings
    with pytest.raises(ValueError, match=f"{key} must be"):
        METHODS[name].make(**(SETTINGS[name] | settings))


@pytest.mark.parametrize("settings", [{}, {"omega": 1.0, "scale": 2.0}])
def test_settings_are_complete_and_known(settings):
    with pytest.raises(TypeError, match=r"omega|scale"):
        METHODS["sds"].make(**settings)


# --- directions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_direction_is_the_sum_over_samples_and_names_one_by_one(name):
    coefficients, p = row(name, 2500), predictions(dtype=torch.float64)
    expected = torch.zeros(3, 3, 4, 5, dtype=torch.float64)
    for i in range(3):
        for key, values in coefficients.items():
            expected[i] += values[i].item() * p[key][i]
    assert torch.allclose(direction(coefficients, p), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", [n for n in METHODS if METHODS[n].centred])
def test_centred_directions_vanish_where_all_predictions_agree(name):
    same = dict.fromkeys(NAMES, predictions()[TEXT])
    assert close(direction(row(name, 2500), same), torch.zeros(3, 3, 4, 5))


def test_sds_tends_to_csd_as_omega_grows():
    """SDS / omega - CSD is exactly (text - noise) / omega: its norm falls as 1 / omega."""
    p = predictions(dtype=torch.float64)
    csd = direction(row("csd"), p)
    for omega in (2.0**4, 2.0**10, 2.0**20):
        difference = direction(row("sds", omega=omega), p) / omega - csd
        assert torch.allclose(difference * omega, p[TEXT] - p[NOISE], rtol=0, atol=1e-7)
    cosine = torch.cosine_similarity(
        direction(row("sds", omega=2.0**20), p).flatten(), csd.flatten(), dim=0
    )
    assert cosine > 1 - 1e-10


def test_sds_is_its_generative_part_plus_omega_csd():
    p = predictions()
    expected = (p[TEXT] - p[NOISE]) + 7.5 * direction(row("csd"), p)
    assert close(direction(row("sds"), p), expected)


def test_sds_uncentred_differs_from_sds_by_the_noise_alone():
    p = predictions()
    difference = direction(row("sds_uncentred"), p) - direction(row("sds"), p)
    assert close(difference, p[NOISE])


def test_eq_10_at_its_ends():
    p = predictions()
    csd = direction(row("csd"), p)
    assert torch.equal(direction(row("csd_neg", 0), p), csd)
    assert close(direction(row("csd_neg", 5000), p), p[TEXT] - p[NEG])
    assert torch.equal(direction(row("csd_neg", 0, omega_2=0.0), p), csd)
    halfway = direction(row("csd_neg", 2500), p)
    assert close(halfway, csd - 0.5 * (p[NEG] - p[UNCOND]))


def test_eq_10_leaves_out_what_cancels():
    assert needed(row("csd_neg", 0)) == [TEXT, UNCOND]
    assert needed(row("csd_neg", 2500)) == [TEXT, UNCOND, NEG]
    assert needed(row("csd_neg", 5000)) == [TEXT, NEG]


def test_editing_is_eq_10_with_other_words():
    p = predictions()
    same = {"omega_1": 1.0, "omega_2": 0.5}
    assert torch.equal(direction(row("csd_edit", **same), p), direction(row("csd_neg", **same), p))


def test_vsd_identities():
    p = predictions()
    csd, vsd = direction(row("csd"), p), direction(row("vsd"), p)
    assert close(vsd, 7.5 * csd - (p[PARTICLE] - p[UNCOND]))
    # A particle that is still the text model leaves omega CSD; a perfect one, that knows the one
    # current view, predicts the noise and leaves SDS.
    assert close(direction(row("vsd"), p | {PARTICLE: p[TEXT]}), 6.5 * csd)
    sds = direction(row("sds", omega=6.5), p)
    assert torch.equal(direction(row("vsd"), p | {PARTICLE: p[NOISE]}), sds)


@pytest.mark.parametrize("omega", [0.0, 0.1, 7.3, 100.0])
def test_dds_at_identical_inputs_is_exactly_zero(omega):
    p = predictions()
    p |= {SOURCE_TEXT: p[TEXT].clone(), SOURCE_UNCOND: p[UNCOND].clone()}
    assert torch.equal(direction(row("dds", omega=omega), p), torch.zeros(3, 3, 4, 5))
    assert torch.equal(direction(row("dds_omega0"), p), torch.zeros(3, 3, 4, 5))


def test_dds_is_the_sum_of_its_parts():
    p, omega = predictions(), 7.5
    cls_source = omega * (p[SOURCE_TEXT] - p[SOURCE_UNCOND])
    first = direction(row("dds_omega0"), p)
    cls = direction(row("dds_cls"), p)
    assert close(direction(row("dds", omega=omega), p), first + cls - cls_source)
    assert close(direction(row("dds_no_cls"), p), first - cls_source)
    assert close(cls, omega * direction(row("csd"), p))


def test_needed_leaves_out_noise_and_zeros_whatever_the_order():
    assert needed(row("sds")) == [TEXT, UNCOND]
    assert needed(row("sds", omega=0.0)) == [TEXT]
    assert needed(row("vsd")) == [TEXT, UNCOND, PARTICLE]
    assert needed(row("dds")) == [TEXT, SOURCE_TEXT, UNCOND, SOURCE_UNCOND]
    one_sample = {UNCOND: torch.tensor([0.0, 1.0]), TEXT: torch.zeros(2), NOISE: -torch.ones(2)}
    assert needed(one_sample) == [UNCOND]


def test_predictions_without_coefficient_may_be_missing_or_not_finite():
    p = {TEXT: predictions()[TEXT], NOISE: predictions()[NOISE]}
    coefficients = row("sds", omega=0.0)
    expected = p[TEXT] - p[NOISE]
    assert torch.equal(direction(coefficients, p), expected)
    p[UNCOND] = torch.full_like(p[TEXT], float("nan"))
    assert torch.equal(direction(coefficients, p), expected)


def test_missing_and_unknown_predictions_are_named():
    with pytest.raises(KeyError, match="'uncond' has a coefficient"):
        direction(row("csd"), {TEXT: predictions()[TEXT]})
    with pytest.raises(KeyError, match="unknown prediction 'txt'"):
        needed({"txt": torch.ones(3)})
    with pytest.raises(ValueError, match="all coefficients are zero"):
        direction({TEXT: torch.zeros(3)}, predictions())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_are_summed_in_single(dtype):
    p = predictions(dtype=dtype)
    single = {name: value.float() for name, value in p.items()}
    got = direction(row("sds", omega=100.0), p)
    assert got.dtype == torch.float32
    assert torch.equal(got, direction(row("sds", omega=100.0), single))


# --- one step ------------------------------------------------------------------------------------
