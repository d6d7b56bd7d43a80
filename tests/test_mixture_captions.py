"""Captions: what the grammar accepts, what it refuses, and which components a caption selects."""

import pytest
import torch
from synthetic_bank import write_bank

from pipeline.artifacts import ArtifactError, write_json
from pipeline.guidance.captions import (
    VIEWS,
    Caption,
    VocabularyError,
    load_world,
    parse,
    view_indices,
)
from pipeline.guidance.mixture import load


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module")
def world(bank):
    return load_world(bank / "world.json")


@pytest.fixture(scope="module")
def prior(bank):
    return load(
        bank,
        prompt="a red car",
        null="marginal",
        component_std=0.2,
        own_count=24,
        others_per_caption=8,
        degraded_mass=0.2,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red car", Caption(shape=0, colour=0)),
        ("An  Blue house ", Caption(shape=1, colour=1)),
        ("a car", Caption(shape=0)),
        ("green", Caption(colour=2)),
        ("a red", Caption(colour=0)),
        ("front view", Caption(views=frozenset({0}))),
        ("a red car, side view", Caption(0, 0, frozenset({2}))),
        ("a car, front view, side view", Caption(0, None, frozenset({0, 2}))),
        ("low quality", Caption(kinds=frozenset({3}))),
        ("a red car, noisy, back view", Caption(0, 0, frozenset({1}), frozenset({4}))),
        (
            "oversaturated color, ugly, tiling, low quality, noisy",
            Caption(kinds=frozenset(range(5))),
        ),
    ],
)
def test_captions_are_read(text, expected, world):
    assert parse(text, world) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a plush corgi",
        "a car red",
        "a red blue car",
        "a red car, a blue car",
        "a red car,",
        "red car with wheels",
        "a",
        "a red car, top view",
        "<script>",
        "a red car 🚗",
        "a 'red' car/house",
    ],
)
def test_other_captions_are_refused_with_the_vocabulary(text, world):
    with pytest.raises(VocabularyError) as error:
        parse(text, world)
    message = str(error.value)
    for word in (*world.shapes, *world.colours, *world.degradations, "front view"):
        assert word in message
    assert repr(text) in message


def test_view_words_equal_those_of_the_prompts(world):
    from prompts.views import view_word

    azimuth = torch.tensor([0.0, 44.0, -44.0, 46.0, 90.0, -134.0, 136.0, 180.0, -180.0, 400.0, 0.0])
    elevation = torch.tensor([0.0] * 10 + [61.0])
    words = [VIEWS[index] for index in view_indices(azimuth, elevation, world)]
    wrapped = [(angle + 180.0) % 360.0 - 180.0 for angle in azimuth.tolist()]
    assert words == [view_word(a, e) for a, e in zip(wrapped, elevation.tolist(), strict=True)]


def test_rows_are_the_prior_restricted_to_what_matches(prior):
    table = prior.components
    captions = {
        "a red car": (table.shape == 0) & (table.colour == 0) & (table.kind == -1),
        "blue": (table.colour == 1) & (table.kind == -1),
        "a house, side view": (table.shape == 1) & (table.view == 2) & (table.kind == -1),
        "noisy, ugly": (table.kind == 1) | (table.kind == 4),
        "a green snowman, tiling": (table.shape == 2) & (table.colour == 2) & (table.kind == 2),
    }
    for row, matches in zip(prior.embed(list(captions)), captions.values(), strict=True):
        expected = torch.where(matches, table.prior, 0.0)
        torch.testing.assert_close(row, expected / expected.sum())
    torch.testing.assert_close(prior.embed(["", "  "])[0], table.null)


def test_an_unseen_combination_is_an_error(prior):
    with pytest.raises(VocabularyError, match="no render"):
        prior.embed(["a red car, overhead view"])


def test_a_broken_world_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"world\.json"):
        load_world(tmp_path / "world.json")
    path = write_json(tmp_path / "world.json", {"schema_version": "1.0", "shapes": ["car"]})
    with pytest.raises(ArtifactError, match=r"world\.json.*view_thresholds"):
        load_world(path)
