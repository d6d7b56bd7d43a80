"""The bank as components: exact weights, both nulls, composition, and files that are not right."""

import pytest
import torch
from synthetic_bank import COLOURS, component_means, write_bank

from pipeline.artifacts import ArtifactError, load_safetensors, save_safetensors
from pipeline.guidance.bank import stratified
from pipeline.guidance.captions import CLEAN
from pipeline.guidance.mixture import load

SETTINGS = {
    "prompt": "a red car",
    "null": "marginal",
    "component_std": 0.2,
    "own_count": 20,
    "others_per_caption": 7,
    "degraded_mass": 0.2,
    "dtype": torch.float64,
}


def loaded(bank, **changes):
    return load(bank, **(SETTINGS | {"generator": torch.Generator().manual_seed(1)} | changes))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"), count=32)


def mass(mixture, which, matches):
    return float(getattr(mixture.components, which)[matches].sum())


@pytest.mark.parametrize("null", ["marginal", "heldout"])
@pytest.mark.parametrize("prompt", ["a red car", "a car", "green", ("a red car", "a blue car")])
def test_prior_and_null_have_the_masses_of_the_world(bank, null, prompt):
    mixture = loaded(bank, null=null, prompt=prompt)
    table = mixture.components
    for which in ("prior", "null"):
        for shape in range(3):
            for colour in range(3):
                chosen = (table.shape == shape) & (table.colour == colour) & (table.kind == CLEAN)
                assert mass(mixture, which, chosen) == pytest.approx(0.8 / 9, rel=1e-12)
        for kind in range(5):
            assert mass(mixture, which, table.kind == kind) == pytest.approx(0.04, rel=1e-12)


def test_the_marginal_is_the_sum_of_the_conditionals(bank):
    mixture = loaded(bank)
    names = mixture.world
    objects = [f"a {colour} {shape}" for colour in names.colours for shape in names.shapes]
    clean, degraded = mixture.embed(objects), mixture.embed(list(names.degradations))
    total = clean.sum(0) * 0.8 / 9 + degraded.sum(0) * 0.2 / 5
    torch.testing.assert_close(total, mixture.embed([""])[0], rtol=1e-12, atol=0.0)


def test_the_prompt_is_dense_and_the_others_are_not(bank):
    mixture = loaded(bank)
    rows = mixture.embed(["a red car", "a red house", "a blue car"])
    assert (rows > 0).sum(1).tolist() == [20, 7, 7]


def test_the_heldout_null_shares_no_image_with_any_caption(bank):
    mixture = loaded(bank, null="heldout", own_count=24)
    means = component_means(mixture, torch.zeros(3))
    table = mixture.components
    assert not bool(((table.prior > 0) & (table.null > 0)).any())
    # at equal colour: the same render in another colour is another image
    apart = torch.cdist(means[table.prior > 0], means[table.null > 0])
    assert float(apart.min()) > 0.0


def test_means_are_the_renders_composed_over_the_background(bank):
    """Against the definition: base + tint * clamp(colour + shade), over the background."""
    mixture = loaded(bank, prompt="a car", own_count=32)
    tensors, _ = load_safetensors(bank / "car.safetensors")
    background = torch.tensor([0.2, 0.5, 0.9])
    means = component_means(mixture, background)
    for colour, name in enumerate(mixture.world.colours):
        rgb = (torch.tensor(COLOURS[name]) + tensors["shade"]).clamp(0.0, 1.0)[:, :, None, None]
        base, tint = tensors["base"].float() / 255.0, tensors["tint"].float() / 255.0
        image = base[:, :3] + tint * rgb + (1.0 - base[:, 3:]) * background[:, None, None]
        expected = (2.0 * image - 1.0).flatten(1).double()
        chosen = means[
            (mixture.components.shape == 0)
            & (mixture.components.colour == colour)
            & (mixture.components.kind == CLEAN)
        ]
        nearest = torch.cdist(expected, chosen, compute_mode="donot_use_mm_for_euclid_dist")
        assert len(chosen) == 32
        assert float(nearest.amin(1).max()) < 1e-5  # the bank is stored in float32


def test_degraded_means_keep_values_outside_the_unit_range(bank):
    mixture = loaded(bank)
    tensors, _ = load_safetensors(bank / "degraded.safetensors")
    means = component_means(mixture, torch.zeros(3))[mixture.components.kind != CLEAN]
    expected = 2.0 * tensors["rgba"][:, :3].double().flatten(1) - 1.0
    torch.testing.assert_close(means, expected, rtol=0.0, atol=1e-6)
    assert float(means.max()) > 1.0


def test_a_stratified_choice_covers_the_circle_with_unbiased_shares():
    generator = torch.Generator().manual_seed(0)
    azimuth = 360.0 * torch.rand(50, generator=generator) - 180.0
    counts = torch.zeros(50)
    for _ in range(4000):
        choice = stratified(azimuth, torch.arange(50), 7, generator)
        assert choice.share.sum() == pytest.approx(1.0, abs=1e-12)
        assert len(set(choice.index.tolist())) == 7
        counts[choice.index] += choice.share.float()
    # every render's expected share is 1/50; 4000 draws leave a relative error of 4 percent
    torch.testing.assert_close(counts / 4000, torch.full((50,), 0.02), rtol=0.2, atol=0.0)
    ranks = torch.argsort(torch.argsort(azimuth))[choice.index]
    assert (ranks * 7 // 50).tolist() == pytest.approx(list(range(7)), abs=1)


def test_the_generator_alone_decides_the_subset(bank):
    rows = [loaded(bank).components.view, loaded(bank).components.view]
    assert torch.equal(*rows)
    other = loaded(bank, generator=torch.Generator().manual_seed(2)).components.view
    assert not torch.equal(rows[0], other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"null": "empty"}, "marginal, heldout"),
        ({"degraded_mass": 0.0}, "degraded_mass"),
        ({"own_count": 40}, "32 renders"),
        ({"own_count": 30, "null": "heldout"}, "held-out"),
        ({"own_count": 0}, "own_count"),
        ({"component_std": 0.0}, "component_std"),
    ],
)
def test_impossible_settings_are_explained(bank, changes, message):
    with pytest.raises(ValueError, match=message):
        loaded(bank, **changes)


def test_missing_and_corrupt_files_are_named(tmp_path):
    bank = write_bank(tmp_path, count=32)
    (bank / "house.safetensors").write_bytes(b"not a bank")
    with pytest.raises(ArtifactError, match="house"):
        loaded(bank)
    (bank / "house.safetensors").unlink()
    with pytest.raises(ArtifactError, match="house"):
        loaded(bank)
    save_safetensors(bank / "house.safetensors", {"base": torch.zeros(32, 4, 8, 8)}, {})
    with pytest.raises(ArtifactError, match=r"house.*tint"):
        loaded(bank)


def test_a_bank_of_another_size_is_refused(tmp_path):
    bank = write_bank(tmp_path / "small", count=32)
    other = write_bank(tmp_path / "large", count=32, size=12)
    (other / "car.safetensors").replace(bank / "car.safetensors")
    with pytest.raises(ArtifactError, match="12 pixel"):
        loaded(bank)
