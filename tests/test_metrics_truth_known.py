"""IoU and PSNR of masks and pictures whose values can be worked out by hand."""

import math

import numpy as np
import pytest

from metrics import truth

SIZE = 96
VIEWS = 4


def square(side: int, left: int = 0, top: int = 0, *, size: int = SIZE) -> np.ndarray:
    """(s, s) bool: a square whose top left pixel is (top, left)."""
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def disc(radius: float, centre: float = 0.0, *, size: int = 384) -> np.ndarray:
    """(s, s) bool: radius and horizontal centre in shares of the picture, from its middle."""
    at = (np.arange(size) + 0.5) / size - 0.5
    return np.hypot(at[None, :] - centre, at[:, None]) <= radius


def iou(found: np.ndarray, true: np.ndarray) -> float:
    """Of one mask with one mask, which is all there is of the object from every side."""
    values = truth.intersection_over_union(np.stack([found] * VIEWS), true[None, None, None])
    assert len(set(values)) == 1
    return float(values[0])


def picture(rgb: object, alpha: np.ndarray | float = 1.0, *, size: int = SIZE) -> np.ndarray:
    """(4, s, s) premultiplied: `rgb` where alpha is."""
    over = np.broadcast_to(np.asarray(alpha, np.float32), (size, size))
    colour = np.asarray(rgb, np.float32)
    colour = colour[:, None, None] if colour.ndim == 1 else colour
    return np.concatenate([colour * over, over[None]]).astype(np.float32)


def as_truth(rgba: np.ndarray) -> truth.Truth:
    """An object that looks like `rgba` from every side, whatever colour is asked for."""
    base = np.stack([rgba] * VIEWS)[None, None]
    nothing = np.zeros((1, 1, VIEWS, 1, *rgba.shape[1:]), np.float32)
    return truth.Truth(base=base, tint=nothing, shade=np.zeros((1, 1, 1, 3, 1, 1), np.float32))


def psnr(found: np.ndarray, true: np.ndarray) -> float:
    """Of one picture with one picture."""
    values = truth.psnr(np.stack([found] * VIEWS), as_truth(true), (0.0, 0.0, 0.0))
    assert len(set(values)) == 1
    return float(values[0])


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        (square(30), square(30), 1.0),
        (square(30), square(30, left=30), 0.0),
        (square(30), square(30, left=10), (30 - 10) / (30 + 10)),
        (square(30), square(30, left=10, top=10), 20**2 / (2 * 30**2 - 20**2)),
        (square(20, left=5, top=5), square(40), 20**2 / 40**2),
        (np.zeros((SIZE, SIZE), bool), square(30), 0.0),
        (np.ones((SIZE, SIZE), bool), square(48), 0.25),
    ],
)
def test_iou_of_squares_is_a_fraction(found: np.ndarray, true: np.ndarray, expected: float) -> None:
    assert iou(found, true) == pytest.approx(expected, rel=1e-15)
    assert iou(true, found) == iou(found, true)


@pytest.mark.parametrize("distance", [0.05, 0.2, 0.35])
def test_iou_of_discs_is_that_of_their_lens(distance: float) -> None:
    """Two discs of radius r at distance d share 2 r^2 acos(d/2r) - d/2 sqrt(4r^2 - d^2)."""
    r, d = 0.25, distance
    lens = 2 * r * r * math.acos(d / (2 * r)) - d / 2 * math.sqrt(4 * r * r - d * d)
    expected = lens / (2 * math.pi * r * r - lens)
    assert iou(disc(r, -d / 2), disc(r, d / 2)) == pytest.approx(expected, abs=2e-3)


def test_iou_takes_one_pose_for_all_views_and_counts_each_view_by_itself() -> None:
    """Poses: 3/4 from each side; 1 from two sides and 0 from the others. The former is chosen."""
    found = np.stack([square(40)] * VIEWS)
    quarter_off = square(40) & ~square(20)
    poses = [[quarter_off] * VIEWS, [square(40)] * 2 + [square(40, left=50)] * 2]
    known = np.array(poses)[None]
    np.testing.assert_array_equal(truth.intersection_over_union(found, known), [0.75] * VIEWS)
    swapped = np.moveaxis(known, 0, 1)  # two instances at one offset instead
    np.testing.assert_array_equal(truth.intersection_over_union(found, swapped), [0.75] * VIEWS)


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        ((0.1, 0.1, 0.1), 20.0),
        ((0.01, 0.01, 0.01), 40.0),
        ((1 / 255, 1 / 255, 1 / 255), 20 * math.log10(255)),  # one level of 8 bits: 48.13 dB
        ((0.3, 0.0, 0.0), -10 * math.log10(0.03)),
        ((0.1, -0.2, 0.2), -10 * math.log10(0.03)),
        ((0.0, 0.0, 0.0), truth.LARGEST_PSNR),
    ],
)
def test_psnr_of_a_plain_colour_is_that_of_the_difference(
    off: tuple[float, float, float], expected: float
) -> None:
    colour = np.array([0.4, 0.5, 0.6])
    mask = square(30, 7, 20)
    assert psnr(picture(colour + off, mask), picture(colour, mask)) == pytest.approx(
        expected, abs=1e-3
    )


def test_psnr_counts_the_union_of_both_silhouettes_over_grey() -> None:
    """Squares of 30 a third apart: 600 pixels shared and equal, 300 on either side over grey."""
    found, true = picture([1, 0, 0.5], square(30)), picture([1, 0, 0.5], square(30, left=10))
    on_grey = (0.5**2 + 0.5**2 + 0.0) / 3
    expected = -10 * math.log10(on_grey * (300 + 300) / (600 + 300 + 300))
    assert psnr(found, true) == pytest.approx(expected, abs=1e-4)
    nothing = picture([0, 0, 0], 0.0)
    assert psnr(nothing, true) == pytest.approx(-10 * math.log10(on_grey), abs=1e-4)


def test_psnr_of_a_veil_is_that_of_what_is_seen_through_it() -> None:
    """Alpha 0.6 of white over grey is 0.8: 0.2 from white. Alpha 0.4 is not in the silhouette."""
    white = picture([1, 1, 1], square(30))
    assert psnr(picture([1, 1, 1], 0.6 * square(30)), white) == pytest.approx(
        -20 * math.log10(0.2), abs=1e-3
    )
    thin = picture([1, 1, 1], 0.4 * square(60))
    assert psnr(thin, white) == pytest.approx(-20 * math.log10(0.3), abs=1e-3)


def test_psnr_of_whole_pictures_is_the_textbooks() -> None:
    """10 log10(peak^2 / mse) with peak 1, as a loop over all pixels and channels."""
    rng = np.random.default_rng(3)
    found, true = rng.random((2, 3, 12, 12))
    total = 0.0
    for channel in range(3):
        for row in range(12):
            for column in range(12):
                total += (found[channel, row, column] - true[channel, row, column]) ** 2
    expected = 10 * math.log10(1.0**2 / (total / (3 * 12 * 12)))
    assert psnr(picture(found, size=12), picture(true, size=12)) == pytest.approx(
        expected, abs=1e-4
    )
