"""Nine objects made of a few chunky parts, their front at +x and their top at +z.

Each function returns the parts of n instances in units of its own (`parts.fitted` brings them into
the unit ball). `vary(nominal, spread)` gives a proportion, `lacks(probability)` whether an
optional part is away. Parts are thick: what covers less than two pixels is lost in distillation.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.toyworld.parts import ALONG_X, ALONG_Y, Part, Vary, expanded, fitted, part, turn

Lacks = Callable[[float], Tensor]

BLACK = (0.06, 0.06, 0.07)
DARK = (0.20, 0.20, 0.23)
GREY = (0.55, 0.56, 0.58)
GLASS = (0.42, 0.62, 0.78)
FLAME = (1.0, 0.62, 0.08)
LAMP = (1.0, 0.97, 0.62)
TAIL = (0.80, 0.02, 0.02)
WOOD = (0.34, 0.18, 0.08)
ROOF = (0.36, 0.20, 0.16)
CREAM = (0.93, 0.86, 0.70)
CARROT = (1.0, 0.40, 0.02)
SNOW = (0.98, 0.97, 0.93)
SIDES = (-1.0, 1.0)


def car(vary: Vary, _: Lacks) -> list[Part]:
    """Headlights, grille and a long bonnet in front; red lights and a white plate behind."""
    length, width, height = vary(0.92, 0.14), vary(0.54, 0.10), vary(0.30, 0.16)
    wheel, cabin = vary(0.26, 0.12), vary(0.22, 0.16)
    top = height + 2 * cabin
    parts = [
        part("box", (0, 0, 0), (length, width, height), taper=(0.97, 0.94)),
        part(
            "box",
            (-0.16, 0, height + cabin),
            (0.56 * length, 0.86 * width, cabin),
            GLASS,
            taper=(0.66, 0.84),
        ),
        part("box", (-0.16, 0, top), (0.44 * length, 0.78 * width, 0.07)),
        part("box", (length, 0, 0.0), (0.05, 0.42 * width, 0.09), BLACK),
        part("box", (-length, 0, 0.03), (0.06, 0.34 * width, 0.09), SNOW),
        part("box", (-length, 0, 0.05), (0.04, 0.90 * width, 0.13), BLACK),
    ]
    for side in SIDES:
        parts += [
            part("box", (-0.16, side * 0.80 * width, height + cabin), (0.08, 0.09, 0.98 * cabin)),
            part("ellipsoid", (length, side * 0.70 * width, 0.06), (0.10, 0.15, 0.14), LAMP),
            part("ellipsoid", (-length, side * 0.68 * width, 0.05), (0.10, 0.12, 0.13), TAIL),
        ]
        for end in SIDES:
            hub = (end * 0.58 * length, side * width, -height)
            parts += [
                part("frustum", hub, (wheel, wheel, 0.13), BLACK, rotation=ALONG_Y),
                part("frustum", hub, (0.5 * wheel, 0.5 * wheel, 0.15), GREY, rotation=ALONG_Y),
            ]
    return parts


def house(vary: Vary, _: Lacks) -> list[Part]:
    """Gable, door and two windows in front, one window on each side, a chimney behind."""
    depth, width, wall = vary(0.60, 0.12), vary(0.62, 0.10), vary(0.40, 0.14)
    roof = vary(0.30, 0.18)
    eaves = 2 * wall
    parts = [
        part("box", (0, 0, wall), (depth, width, wall)),
        part("box", (0, 0, eaves + roof), (depth, width, roof), taper=(1.0, 0.0)),
        part(
            "box", (0, 0, eaves + 1.09 * roof), (0.98 * depth, 1.12 * width, 1.09 * roof), ROOF,
            taper=(1.0, 0.0),
        ),
        part("box", (-0.5 * depth, 0.5 * width, eaves + 1.5 * roof), (0.12, 0.12, 0.34), GREY),
        part("box", (depth, 0, 0.29), (0.04, 0.15, 0.29), WOOD),
        part("ellipsoid", (depth + 0.04, 0.08, 0.28), (0.04, 0.05, 0.05), LAMP),
    ]  # fmt: skip
    for side in SIDES:
        y, z = side * 0.62 * width, 0.98 * wall
        parts += [
            part("box", (depth, y, z), (0.03, 0.17, 0.18), DARK),
            part("box", (depth, y, z), (0.045, 0.12, 0.13), LAMP),
            part("box", (0, side * width, z), (0.19, 0.03, 0.18), DARK),
            part("box", (0, side * width, z), (0.14, 0.045, 0.13), GLASS),
        ]
    return parts


def snowman(vary: Vary, _: Lacks) -> list[Part]:
    """Carrot nose, eyes and buttons in front; top hat and scarf all around."""
    low, middle, head = vary(0.60, 0.08), vary(0.46, 0.08), vary(0.37, 0.08)
    belly = 0.66 * (low + middle)
    face = belly + 0.72 * (middle + head)
    brim = face + 0.72 * head
    hat = vary(0.19, 0.25)
    ball = (middle, middle, middle)
    parts = [
        part("ellipsoid", (0, 0, 0), (low, low, 0.92 * low)),
        part("ellipsoid", (0, 0, belly), ball),
        part("ellipsoid", (0, 0, face), (head, head, head)),
        part("frustum", (0, 0, brim), (0.40, 0.40, 0.05), BLACK),
        part("frustum", (0, 0, brim + hat), (0.27, 0.27, hat), BLACK, taper=(0.92, 0.92)),
        part("frustum", (head + 0.14, 0, face), (0.11, 0.11, 0.24), CARROT, taper=(0.1, 0.1),
             rotation=ALONG_X),
    ]  # fmt: skip
    for side in SIDES:
        eye = (0.84 * head, side * 0.16, face + 0.11)
        arm = (0.0, side * (middle + 0.16), belly + 0.14)
        parts += [
            part("ellipsoid", eye, (0.08, 0.075, 0.085), BLACK),
            part("frustum", arm, (0.085, 0.085, 0.26), WOOD, rotation=turn(roll=-side * 55)),
        ]
    for height in (-0.14, 0.12):
        depth = (1 - (height / 0.43) ** 2) ** 0.5 * middle
        parts.append(part("ellipsoid", (depth, 0, belly + height), (0.07, 0.085, 0.085), BLACK))
    return parts


def duck(vary: Vary, _: Lacks) -> list[Part]:
    """A bath duck: beak and eyes in front, upturned tail behind, wings at the sides."""
    length, width, height = vary(0.72, 0.10), vary(0.52, 0.10), vary(0.46, 0.10)
    head = vary(0.37, 0.10)
    x, z = 0.44 * length, height + 0.62 * head
    parts = [
        part("ellipsoid", (0, 0, 0), (length, width, height)),
        part("ellipsoid", (x, 0, z), (head, head, head)),
        part("ellipsoid", (x + head + 0.09, 0, z - 0.07), (0.22, 0.20, 0.09), CARROT),
        part("frustum", (-0.86 * length, 0, 0.62 * height), (0.26, 0.30, 0.34),
             taper=(0.15, 0.15), rotation=turn(pitch=-40)),
    ]  # fmt: skip
    for side in SIDES:
        eye = (x + 0.70 * head, side * 0.62 * head, z + 0.36 * head)
        wing = (-0.10, side * 0.88 * width, 0.10)
        parts += [
            part("ellipsoid", eye, (0.10, 0.10, 0.11), BLACK),
            part("ellipsoid", wing, (0.40, 0.16, 0.24), factor=0.72, rotation=turn(pitch=14)),
        ]
    return parts


def robot(vary: Vary, lacks: Lacks) -> list[Part]:
    """Eyes, mouth and chest panel in front; antenna on top; thick arms and legs."""
    width, depth, chest = vary(0.44, 0.10), vary(0.32, 0.12), vary(0.36, 0.10)
    head, leg = vary(0.27, 0.10), vary(0.22, 0.16)
    crown = chest + 0.08 + 2 * head
    face = chest + 0.06 + head
    parts = [
        part("box", (0, 0, 0), (depth, width, chest)),
        part("frustum", (0, 0, chest + 0.03), (0.14, 0.14, 0.08), GREY),
        part("box", (0, 0, face), (0.29, 0.36, head)),
        part("box", (0.29, 0, face - 0.55 * head), (0.04, 0.20, 0.055), BLACK),
        part("box", (depth, 0, 0.04), (0.05, 0.62 * width, 0.58 * chest), GREY),
        part("ellipsoid", (depth + 0.05, 0.11, 0.10), (0.05, 0.08, 0.08), LAMP),
        part("box", (depth + 0.05, -0.10, 0.10), (0.03, 0.08, 0.07), BLACK),
        part("frustum", (0, 0, crown + 0.05), (0.07, 0.07, 0.10), GREY),
        part("ellipsoid", (0, 0, crown + 0.18), (0.12, 0.12, 0.12), TAIL),
        part("box", (-depth - 0.06, 0, 0.05), (0.09, 0.26, 0.24), DARK, present=~lacks(0.5)),
    ]
    for side in SIDES:
        y = side * (width + 0.15)
        parts += [
            part("ellipsoid", (0.29, side * 0.16, face + 0.24 * head), (0.06, 0.13, 0.13), LAMP),
            part("ellipsoid", (0.33, side * 0.16, face + 0.24 * head), (0.05, 0.06, 0.06), BLACK),
            part("box", (0, y, 0.06), (0.17, 0.14, 0.88 * chest)),
            part("ellipsoid", (0, y, 0.06 - chest), (0.18, 0.16, 0.17), GREY),
            part("box", (0, side * 0.23, -chest - leg), (0.18, 0.17, leg), GREY),
            part("box", (0.06, side * 0.23, -chest - 2 * leg), (0.29, 0.20, 0.09), DARK),
        ]
    return parts


def chair(vary: Vary, lacks: Lacks) -> list[Part]:
    """A backrest behind a seat with a dark cushion; four thick legs."""
    depth, width = vary(0.46, 0.10), vary(0.46, 0.10)
    leg, rest = vary(0.34, 0.18), vary(0.46, 0.16)
    arms = ~lacks(0.5)
    parts = [
        part("box", (0, 0, 0), (depth, width, 0.09)),
        part("box", (0.06, 0, 0.10), (0.86 * depth, 0.84 * width, 0.07), DARK),
        part("box", (-depth, 0, rest - 0.09), (0.09, width, rest + 0.09)),
    ]
    for side in SIDES:
        for end in SIDES:
            foot = (end * (depth - 0.10), side * (width - 0.10), -0.08 - leg)
            parts.append(part("box", foot, (0.115, 0.115, leg), factor=0.75))
        parts.append(
            part("box", (0, side * width, 0.30), (depth, 0.09, 0.07), factor=0.85,
                 present=arms)
        )  # fmt: skip
    return parts


def tree(vary: Vary, _: Lacks) -> list[Part]:
    """Three tiers of a fir on a thick trunk; the same from all around."""
    low, tier, trunk = vary(0.60, 0.12), vary(0.30, 0.14), vary(0.22, 0.20)
    parts = [part("frustum", (0, 0, -trunk), (0.17, 0.17, trunk), WOOD)]
    for level, share in enumerate((1.0, 0.80, 0.58)):
        height = tier * (1.02 - 0.06 * level)
        z = tier * (1.0 + 1.12 * level)
        parts.append(
            part("frustum", (0, 0, z), (share * low, share * low, height),
                 taper=(0.30 if level < 2 else 0.0,) * 2, factor=(0.86, 0.93, 1.0)[level])
        )  # fmt: skip
    return parts


def mushroom(vary: Vary, lacks: Lacks) -> list[Part]:
    """A domed cap with pale spots on a pale stem; nearly the same from all around."""
    cap, dome, stem = vary(0.72, 0.10), vary(0.60, 0.14), vary(0.36, 0.14)
    parts = [
        part("ellipsoid", (0, 0, 0), (cap, cap, dome), cut=-0.12),
        part("frustum", (0, 0, -stem), (0.32, 0.32, stem), CREAM, taper=(0.78, 0.78)),
    ]
    spots = [(90.0, 0.0)] + [(28.0, 25.0 + 72.0 * k) for k in range(5)]
    spots += [(58.0, 61.0 + 120.0 * k) for k in range(3)]
    for elevation, azimuth in spots:
        direction = turn(pitch=-elevation, yaw=azimuth)[:, 0]
        where = (cap * direction[0], cap * direction[1], dome * direction[2])
        flat = turn(pitch=90 - elevation, yaw=azimuth)
        parts.append(
            part("ellipsoid", where, (0.125, 0.125, 0.05), SNOW, rotation=flat,
                 present=~lacks(0.3) if elevation > 50 else None)
        )  # fmt: skip
    return parts


def rocket(vary: Vary, lacks: Lacks) -> list[Part]:
    """A round porthole in front, four fins, a pointed nose, a flame."""
    radius, body, nose = vary(0.38, 0.10), vary(0.46, 0.12), vary(0.26, 0.16)
    parts = [
        part("frustum", (0, 0, 0), (radius, radius, body)),
        part("frustum", (0, 0, body + nose), (radius, radius, nose), GREY, taper=(0.0, 0.0)),
        part("frustum", (0, 0, -body - 0.10), (0.28, 0.28, 0.12), DARK, taper=(0.75, 0.75)),
        part("frustum", (0, 0, -body - 0.44), (0.24, 0.24, 0.26), FLAME, rotation=turn(roll=180),
             taper=(0.05, 0.05), present=~lacks(0.5)),
        part("ellipsoid", (radius, 0, 0.20), (0.08, 0.24, 0.24), SNOW),
        part("ellipsoid", (radius + 0.03, 0, 0.20), (0.08, 0.16, 0.16), BLACK),
    ]  # fmt: skip
    for k in range(4):
        yaw = 45.0 + 90.0 * k
        out = turn(yaw=yaw)[:, 0]
        reach = radius + 0.10
        parts.append(
            part("box", (reach * out[0], reach * out[1], -body + 0.08), (0.24, 0.09, 0.28),
                 taper=(0.3, 1.0), rotation=turn(yaw=yaw), factor=0.7)
        )  # fmt: skip
    return parts


OBJECTS: dict[str, Callable[[Vary, Lacks], list[Part]]] = {
    "car": car,
    "house": house,
    "snowman": snowman,
    "duck": duck,
    "robot": robot,
    "chair": chair,
    "tree": tree,
    "mushroom": mushroom,
    "rocket": rocket,
}


def build(shape: str, count: int, diversity: float, generator: torch.Generator) -> list[Part]:
    """`count` instances of a shape in the unit ball; at diversity 0 all equal, whatever the seed.

    Raises ValueError for an unknown shape or a diversity outside [0, 1].
    """
    if shape not in OBJECTS:
        raise ValueError(f"unknown shape {shape!r}; known: {', '.join(OBJECTS)}")
    if not 0.0 <= diversity <= 1.0:
        raise ValueError(f"diversity must lie in [0, 1], not {diversity}")

    def vary(nominal: float, spread: float) -> Tensor:
        unit = 2 * torch.rand(count, generator=generator) - 1
        return nominal * (1 + spread * diversity * unit)

    def lacks(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability * diversity

    return fitted(expanded(OBJECTS[shape](vary, lacks), count))
