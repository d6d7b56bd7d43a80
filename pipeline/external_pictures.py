"""What files of another system show, as pictures that can be scored: cut, checked, made RGBA.

Pictures are float32 (h, w, 3 or 4) in [0, 1], row 0 the top; RGBA has straight alpha. A background
is known by its colour and lies at the border: what is connected to the border in that colour
becomes transparent, so that every column is scored over the same backgrounds. A border that is
something else refuses the picture, since nobody can tell what belongs to the object.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

Image = Float[np.ndarray, "h w c"]
TRANSPARENT = "transparent"
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "grey": (0.5, 0.5, 0.5), "black": (0.0, 0.0, 0.0)}
AT_BORDER = 0.6  # share of the border's pixels that must show the background: objects may touch it
NEAREST = 5.0  # degrees that a video's frame may lie from the view it stands for


class Refused(ValueError):
    """Files that cannot be scored; the message names the file and what is wrong with it."""


def read_image(path: Path) -> Image:
    """The picture in `path`. Raises Refused for a file that is none."""
    from PIL import Image as Pillow

    broken = (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError)
    try:
        with Pillow.open(path) as file:
            return _array(file)
    except broken as error:
        raise Refused(f"{path.name}: not a readable picture ({error})") from error


def _array(file: Any) -> Image:
    mode = "RGBA" if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info else "RGB"
    return np.asarray(file.convert(mode), dtype=np.float32) / 255.0


def frame_count(path: Path) -> int:
    """How many frames a video or an animated picture has. Raises Refused for what is neither."""
    if (count := _animated(path)) is not None:
        return count
    with _stream(path) as stream:
        count = 0
        while stream.grab():  # what a container says of its length may be wrong
            count += 1
    if not count:
        raise Refused(f"{path.name}: neither an animated picture nor a video that can be decoded")
    return count


def read_frames(path: Path, wanted: Collection[int]) -> Iterator[tuple[int, Image]]:
    """(number, picture) of the wanted frames in their order; one is held at a time.

    Raises Refused for a frame that cannot be read.
    """
    from PIL import Image as Pillow

    if _animated(path) is None:
        with _stream(path) as stream:
            for number in range(max(wanted) + 1):
                if not stream.grab():
                    raise Refused(f"{path.name}: frame {number} cannot be decoded")
                if number in wanted:
                    frame = stream.retrieve()[1]
                    yield number, frame[..., ::-1].astype(np.float32) / 255.0
        return
    with Pillow.open(path) as file:
        for number in sorted(wanted):
            try:
                file.seek(number)
                image = _array(file)
            except (OSError, EOFError, SyntaxError, ValueError) as error:
                raise Refused(f"{path.name}: frame {number} cannot be read ({error})") from error
            yield number, image


def _animated(path: Path) -> int | None:
    """The frames of a picture; None for what is no picture: a video's container."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as file:
            return int(getattr(file, "n_frames", 1))
    except Pillow.DecompressionBombError as error:
        raise Refused(f"{path.name}: not a readable picture ({error})") from error
    except OSError:
        return None


@contextmanager
def _stream(path: Path) -> Iterator[Any]:
    import cv2

    stream = cv2.VideoCapture(str(path))
    try:
        yield stream
    finally:
        stream.release()


def azimuths(
    frames: int, *, first: float, clockwise: bool, turn: float, closed: bool
) -> np.ndarray:
    """The azimuth of every frame in degrees; `closed`: the last frame repeats the first's place."""
    steps = max(1, frames - 1) if closed else frames
    sign = -1.0 if clockwise else 1.0
    return (first + sign * turn * np.arange(frames) / steps) % 360.0


def nearest_frame(known: np.ndarray, wanted: float, name: str) -> int:
    """The frame that was taken nearest to `wanted` degrees. Raises Refused beyond NEAREST."""
    apart = np.abs((known - wanted + 180.0) % 360.0 - 180.0)
    best = int(apart.argmin())
    if apart[best] > NEAREST:
        raise Refused(
            f"no frame within {NEAREST:g} degrees of {name} ({wanted:g}): the nearest is "
            f"{apart[best]:.0f} away"
        )
    return best


def cropped(image: Image, rule: Mapping[str, Any] | None) -> Image:
    """One of several panels side by side, or a part of the picture in shares of its sides."""
    if rule is None:
        return image
    height, width = image.shape[:2]
    if "panels" in rule:
        if width % rule["panels"]:
            raise Refused(f"{width} pixels are not {rule['panels']} panels of one width")
        step = width // rule["panels"]
        return image[:, rule["panel"] * step : (rule["panel"] + 1) * step]
    top, bottom = round(rule["top"] * height), round(rule["bottom"] * height)
    left, right = round(rule["left"] * width), round(rule["right"] * width)
    if not (top < bottom and left < right):
        raise Refused(f"crop {dict(rule)} leaves nothing of {width} x {height} pixels")
    return image[top:bottom, left:right]


def border(image: Image) -> Float[np.ndarray, "n c"]:
    """The outermost pixels."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def cut_out(image: Image, background: str | Sequence[float], tolerance: float, name: str) -> Image:
    """RGBA without the background. Raises Refused where the border does not show it."""
    edge = border(image)
    alpha = edge[:, 3] if image.shape[2] == 4 else np.ones(len(edge))
    seen = " ".join(f"{value:.2f}" for value in np.median(edge[:, :3], axis=0))
    if background == TRANSPARENT:
        if (alpha < 0.5).mean() < AT_BORDER:
            raise Refused(f"{name}: declared transparent, but its border is opaque, rgb {seen}")
        return image
    if (alpha < 0.99).any():
        raise Refused(f"{name}: declared {background}, but its border is transparent")
    colour = np.asarray(BACKGROUNDS[background] if isinstance(background, str) else background)
    near = np.abs(image[..., :3] - colour).max(axis=2) <= tolerance
    share = border(near[..., None]).mean()
    if share < AT_BORDER:
        raise Refused(
            f"{name}: declared {background}, but {100 * (1 - share):.0f} % of its border is "
            f"something else, rgb {seen}"
        )
    opaque = (~connected_to_border(near)).astype(np.float32)[..., None]
    return np.concatenate([image[..., :3] * (opaque > 0), opaque], axis=2).astype(np.float32)


def connected_to_border(near: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The parts of `near` that reach the border; what the object encloses stays."""
    from scipy.ndimage import label

    numbers, _ = label(near)
    outside = np.unique(border(numbers[..., None]))
    return np.isin(numbers, outside[outside > 0])


def at_size(rgba: Image, size: int) -> Image:
    """The picture in a square of `size` pixels: padded with nothing, resized with its alpha."""
    from PIL import Image as Pillow

    height, width = rgba.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 4), dtype=np.float32)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = rgba
    if side == size:
        return square
    square[..., :3] *= square[..., 3:]  # no colour of transparent pixels leaks in
    planes = [
        np.asarray(Pillow.fromarray(square[..., k]).resize((size, size), Pillow.Resampling.LANCZOS))
        for k in range(4)
    ]
    found = np.clip(np.stack(planes, axis=-1), 0.0, 1.0)
    alpha = found[..., 3:]
    colour = np.clip(found[..., :3] / np.maximum(alpha, 1e-6), 0.0, 1.0) * (alpha > 0)
    return np.concatenate([colour, alpha], axis=-1).astype(np.float32)
