"""Image statistics against known colours, slow loops and limits."""

import numpy as np
import pytest

from metrics import image_stats


def solid(rgb: tuple[float, float, float], alpha: float = 1.0, size: int = 8) -> np.ndarray:
    return np.full((size, size, 4), (*rgb, alpha), dtype=np.float32)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        # CIELAB of sRGB's primaries under D65, as every colour calculator prints them
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(rgb: tuple[float, ...], expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(image_stats.lab(np.array(rgb)), expected, atol=0.02)


def test_chroma_ignores_lightness_and_what_is_outside() -> None:
    assert image_stats.chroma(solid((0.4, 0.4, 0.4))) == pytest.approx(0.0, abs=1e-5)
    assert image_stats.chroma(solid((1.0, 0.0, 0.0))) == pytest.approx(104.55, abs=0.02)
    half = solid((1.0, 0.0, 0.0))
    half[:, 4:] = (0.0, 1.0, 0.0, 0.1)  # nearly transparent: not the object
    assert image_stats.chroma(half) == pytest.approx(104.55, abs=0.02)


def test_clipped_counts_pixels_with_a_channel_at_an_end() -> None:
    image = solid((0.5, 0.5, 0.5), size=4)
    image[0, 0, 0] = 1.0
    image[0, 1, 2] = 0.0
    image[0, 2, 1] = 254 / 255
    image[0, 3, 1] = 253 / 255
    assert image_stats.clipped(image) == 3 / 16
    image[0, 0, 3] = 0.0
    assert image_stats.clipped(image) == 2 / 15


def test_sharpness_is_the_laplacian_inside() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((7, 9, 4)).astype(np.float32)
    image[..., 3] = (rng.random((7, 9)) < 0.9).astype(np.float32)
    luma = image[..., 0] * 0.2126 + image[..., 1] * 0.7152 + image[..., 2] * 0.0722
    found = []
    for y in range(1, 6):
        for x in range(1, 8):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            if all(image[place][3] >= 0.5 for place in [(y, x), *around]):
                found.append((sum(luma[place] for place in around) - 4 * luma[y, x]) ** 2)
    assert found
    assert image_stats.sharpness(image) == pytest.approx(np.mean(found), rel=1e-5)


def test_outlines_and_slopes_are_not_sharp() -> None:
    disc = solid((0.0, 0.0, 0.0), alpha=0.0, size=16)
    disc[4:12, 4:12] = (0.9, 0.1, 0.1, 1.0)
    assert image_stats.sharpness(disc) == pytest.approx(0.0, abs=1e-12)
    slope = solid((0.5, 0.5, 0.5), size=16)
    slope[..., :3] = np.linspace(0, 1, 16)[None, :, None]
    assert image_stats.sharpness(slope) == pytest.approx(0.0, abs=1e-12)  # linear: no Laplacian


def test_opacity_tells_solid_from_fog() -> None:
    image = solid((0.5, 0.5, 0.5), alpha=0.0)
    image[:4, :, 3] = 1.0
    assert image_stats.opacity(image) == 1.0
    image[4:, :, 3] = 0.2
    assert image_stats.opacity(image) == pytest.approx(0.6)


@pytest.mark.parametrize("name", list(image_stats.STATISTICS))
def test_an_empty_picture_has_zeros(name: str) -> None:
    assert image_stats.STATISTICS[name](solid((0.3, 0.3, 0.3), alpha=0.0)) == 0.0
