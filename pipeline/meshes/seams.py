"""How visible a texture's seams are: the colour jump across them, over that across other edges.

A seam is an edge of two faces that lie apart in the texture. Across an edge the colour is compared
at two points of the surface, one in each face and equally far from the edge, each looked up through
its own face's part of the texture; the two points of every edge, flat or folded, are the same small
distance apart. A jump is a distance in CIE L*a*b* (Delta E 1976),
averaged over edges by their length. A texture without seams has a ratio near 1.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.meshes.bake import at
from pipeline.meshes.colours import lab
from pipeline.meshes.mesh import Mesh, face_areas
from pipeline.meshes.unwrap import Atlas

FLOOR = 0.23  # a tenth of a just noticeable difference; smaller jumps are rounding
ALONG = (0.25, 0.5, 0.75)  # places on an edge
TEXELS_APART = 2.0
HEIGHTS_APART = 0.5
# What a ratio depends on besides mesh, texture and the resolution asked for: numbers that differ in
# it must not be compared.
DEFINITION = {
    "colours": "CIE 1976",
    "floor": FLOOR,
    "along": list(ALONG),
    "apart": "the less of so many texels and so many heights of the middle triangle",
    "texels_apart": TEXELS_APART,
    "heights_apart": HEIGHTS_APART,
    "mean": "by length of edge",
}


@dataclass(frozen=True)
class Seams:
    """Mean jumps in Delta E; ratio of both, each at least FLOOR; None where there are no edges."""

    seam: float | None
    interior: float | None
    ratio: float | None
    seam_edges: int
    distance: float  # between the points compared, in world units

    def record(self) -> dict[str, float | int | None]:
        """The numbers as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Pairs:
    """Edges of exactly two faces: side 0, side 1; corner k means the edge from k to k + 1."""

    face: Int[Tensor, "p 2"]
    corner: Int[Tensor, "p 2"]
    same_start: Bool[Tensor, " p"]


def seams(
    mesh: Mesh, atlas: Atlas, image: Float[Tensor, "h w 3"], *, distance: float | None = None
) -> Seams:
    """The jumps of a texture at seams and elsewhere, `distance` between the points compared.

    Without it: two texels, or half the middle triangle's height where triangles are smaller.
    """
    pairs = _pairs(mesh)
    if distance is None:
        distance = _distance(mesh, atlas)
    split = _is_seam(atlas, pairs)
    jump, weight = _jumps(mesh, atlas, image, pairs, _steps(mesh, pairs, distance))
    seam, interior = (_mean(jump[chosen], weight[chosen]) for chosen in (split, ~split))
    ratio = None
    if seam is not None and interior is not None:
        ratio = max(seam, FLOOR) / max(interior, FLOOR)
    return Seams(seam, interior, ratio, int(split.sum()), distance)


def _mean(values: Tensor, weights: Tensor) -> float | None:
    total = weights.sum()
    return float((values * weights).sum() / total) if total > 0 else None


def _pairs(mesh: Mesh) -> _Pairs:
    start, end = mesh.faces, mesh.faces.roll(-1, 1)
    key = torch.minimum(start, end) * len(mesh.vertices) + torch.maximum(start, end)
    key = key.reshape(-1)
    _, edge, count = torch.unique(key, return_inverse=True, return_counts=True)
    order = torch.argsort(edge, stable=True)
    order = order[count[edge[order]] == 2].reshape(-1, 2)
    face, corner = order // 3, order % 3
    first = mesh.faces.reshape(-1)[order]
    return _Pairs(face, corner, first[:, 0] == first[:, 1])


def _distance(mesh: Mesh, atlas: Atlas) -> float:
    corners = mesh.vertices[mesh.faces]
    sides = (corners - corners.roll(-1, 1)).norm(dim=-1)
    area = face_areas(mesh)
    height = 2 * area / sides.amax(1)
    a, b, c = (atlas.uv * torch.tensor(atlas.size[::-1]))[atlas.faces].unbind(1)
    (x, y), (s, t) = (b - a).unbind(1), (c - a).unbind(1)
    texel = (area.sum() / ((x * t - y * s).abs().sum() / 2)).sqrt()
    return float(torch.minimum(TEXELS_APART * texel, HEIGHTS_APART * height.median()))


def _is_seam(atlas: Atlas, pairs: _Pairs) -> Bool[Tensor, " p"]:
    """Whether the edge's two ends lie at other places of the texture in the other face."""
    ends = [
        [
            atlas.uv[atlas.faces[pairs.face[:, side], (pairs.corner[:, side] + k) % 3]]
            for k in (0, 1)
        ]
        for side in (0, 1)
    ]
    same = pairs.same_start[:, None]
    start, end = (torch.where(same, ends[1][k], ends[1][1 - k]) for k in (0, 1))
    apart = torch.maximum((ends[0][0] - start).abs(), (ends[0][1] - end).abs())
    return apart.amax(1) > 1e-6


def _jumps(
    mesh: Mesh, atlas: Atlas, image: Tensor, pairs: _Pairs, step: Float[Tensor, " p"]
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Of every edge the mean Delta E, and its length times the share of places that could be taken.

    A place is left out where a triangle is too small to hold its point.
    """
    total = torch.zeros(len(pairs.face))
    used = torch.zeros(len(pairs.face))
    for place in ALONG:
        colour, inside = [], torch.ones(len(pairs.face), dtype=torch.bool)
        for side in (0, 1):
            t = torch.where(pairs.same_start | torch.tensor(side == 0), place, 1 - place)
            face, corner = pairs.face[:, side], pairs.corner[:, side]
            share = _shares(mesh, face, corner, t, step)
            inside &= (share >= 0).all(1)
            numbers = torch.stack([(corner + k) % 3 for k in range(3)], 1)
            uv = atlas.uv[atlas.faces[face[:, None], numbers]]
            colour.append(lab(at(image, (share[:, :, None] * uv).sum(1))))
        total += torch.where(inside, (colour[0] - colour[1]).norm(dim=1), 0.0)
        used += inside
    face, corner = pairs.face[:, 0], pairs.corner[:, 0]
    ends = [mesh.vertices[mesh.faces[face, (corner + k) % 3]] for k in (0, 1)]
    return total / used.clamp_min(1), (ends[0] - ends[1]).norm(dim=1) * used


def _frame(mesh: Mesh, face: Tensor, corner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(direction into the face, height over the edge, the third corner's foot in [start, end])."""
    a, b, c = (mesh.vertices[mesh.faces[face, (corner + k) % 3]] for k in range(3))
    along = b - a
    foot = ((c - a) * along).sum(1) / (along * along).sum(1)
    inward = c - a - foot[:, None] * along
    height = inward.norm(dim=1)
    return inward / height[:, None], height, foot


def _steps(mesh: Mesh, pairs: _Pairs, distance: float) -> Float[Tensor, " p"]:
    """How far from each edge the two points lie, so that they are `distance` apart.

    At folds sharper than 30 degrees they come nearer than that.
    """
    sides = [_frame(mesh, pairs.face[:, side], pairs.corner[:, side])[0] for side in (0, 1)]
    return distance / (sides[0] - sides[1]).norm(dim=1).clamp_min(0.5)


def _shares(
    mesh: Mesh, face: Tensor, corner: Tensor, t: Tensor, step: Float[Tensor, " p"]
) -> Float[Tensor, "p 3"]:
    """Barycentric shares (start, end, third corner) of the point `step` inside the edge at t."""
    _, height, foot = _frame(mesh, face, corner)
    third = step / height
    second = t - third * foot
    return torch.stack([1 - second - third, second, third], 1)
