"""A body-centred cubic lattice cut into congruent tetrahedra; nothing of it need be stored.

The cube [-w, w]^3 holds n^3 cells with nodes at their corners and at their centres. Around the edge
between the centres of two neighbouring cells stand four tetrahedra, each with one edge of the face
that the cells share. `resolution` counts the planes between nodes, R = 2n a side, w * 2/R apart: at
equal R the surface is as fine as that of a cubic lattice with R^3 cells. All tetrahedra have two
edges of a = 2w/n and four of a sqrt(3)/2, dihedral angles of 60 and 90 degrees (the most regular
tetrahedron that fills space alone), and det(v1 - v0, v2 - v0, v3 - v0) > 0.

The tetrahedra leave out a pyramid on each outer face of the cube, so what they fill ends in the
corners on the cube's faces and in the centres of the outermost cells: the `border`. A field that is
positive there has a closed surface.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LARGEST_RESOLUTION = 2046  # node numbers are int32


@dataclass(frozen=True)
class TetGrid:
    """Nodes are numbered corners first, x fastest, z slowest; then centres likewise."""

    resolution: int
    half_width: float

    def __post_init__(self) -> None:
        if self.resolution % 2 or not 4 <= self.resolution <= LARGEST_RESOLUTION:
            raise ValueError(
                f"tetrahedral grid: resolution {self.resolution} must be even, from 4 to "
                f"{LARGEST_RESOLUTION}"
            )
        if not self.half_width > 0:
            raise ValueError(f"tetrahedral grid: half_width {self.half_width} must be positive")

    @property
    def cells(self) -> int:
        """Cells along a side, n."""
        return self.resolution // 2

    @property
    def spacing(self) -> float:
        """The distance of neighbouring planes of nodes, a/2."""
        return 2 * self.half_width / self.resolution

    @property
    def nodes(self) -> int:
        return (self.cells + 1) ** 3 + self.cells**3

    def vertices(self) -> Float[Tensor, "v 3"]:
        """Where the nodes are."""
        corners = _lattice(self.cells + 1).float()
        centres = _lattice(self.cells).float() + 0.5
        return torch.cat([corners, centres]) * (2 * self.spacing) - self.half_width

    def border(self) -> Bool[Tensor, " v"]:
        """The nodes on the outside of what the tetrahedra fill."""
        corners, centres = _lattice(self.cells + 1), _lattice(self.cells)
        outer_corner = (corners == 0) | (corners == self.cells)
        outer_centre = (centres == 0) | (centres == self.cells - 1)
        return torch.cat([outer_corner.any(1), outer_centre.any(1)])

    def tetrahedra(self) -> Int[Tensor, "t 4"]:
        """All of them, 12 n^2 (n - 1), int32."""
        whole = torch.ones(self.cells, self.cells, self.cells, dtype=torch.bool)
        parts = [self._around(axis, whole.narrow(2 - axis, 1, self.cells - 1)) for axis in range(3)]
        return torch.cat(parts)

    def crossing(self, inside: Bool[Tensor, " v"]) -> Int[Tensor, "k 4"]:
        """Those with nodes inside and outside, in the order of `tetrahedra`."""
        split = (self.cells + 1) ** 3
        corners = inside[:split].view(3 * (self.cells + 1,))
        centres = inside[split:].view(3 * (self.cells,))
        parts = []
        for axis in range(3):
            along, first, second = 2 - axis, 2 - (axis + 1) % 3, 2 - (axis + 2) % 3
            n = self.cells
            face = corners.narrow(along, 1, n - 1)
            six = [centres.narrow(along, start, n - 1) for start in (0, 1)]
            six += [face.narrow(first, i, n).narrow(second, j, n) for i in (0, 1) for j in (0, 1)]
            all_in, any_in = six[0], six[0]
            for part in six[1:]:
                all_in, any_in = all_in & part, any_in | part
            parts.append(self._around(axis, any_in & ~all_in))
        found = torch.cat(parts)
        count = inside.index_select(0, found.view(-1)).view(-1, 4).sum(1)
        return found.index_select(0, ((count > 0) & (count < 4)).nonzero()[:, 0])

    def edges(self, chosen: Bool[Tensor, " v"]) -> Int[Tensor, "e 2"]:
        """The pairs of neighbouring nodes that are both chosen, int32."""
        n = self.cells
        numbers = torch.arange(self.nodes, dtype=torch.int32, device=chosen.device)
        corners = numbers[: (n + 1) ** 3].view(3 * (n + 1,))
        centres = numbers[(n + 1) ** 3 :].view(3 * (n,))
        pairs = [
            (kind.narrow(axis, 0, len(kind) - 1), kind.narrow(axis, 1, len(kind) - 1))
            for kind in (corners, centres)
            for axis in range(3)
        ]
        for z, y, x in itertools.product((0, 1), repeat=3):
            pairs.append((centres, corners[z : z + n, y : y + n, x : x + n]))
        found = []
        for one, other in pairs:
            kept = chosen[one.reshape(-1).long()] & chosen[other.reshape(-1).long()]
            found.append(torch.stack([one.reshape(-1)[kept], other.reshape(-1)[kept]], 1))
        return torch.cat(found)

    def _around(self, axis: int, chosen: Bool[Tensor, "z y x"]) -> Int[Tensor, "k 4"]:
        """Four tetrahedra around each edge from the centre of a chosen cell along the axis."""
        n = self.cells
        z, y, x = chosen.nonzero().int().unbind(1)
        corner_step, centre_step = (1, n + 1, (n + 1) ** 2), (1, n, n * n)
        centre = (n + 1) ** 3 + x + n * y + n * n * z
        corner = x + (n + 1) * (y + (n + 1) * z) + corner_step[axis]
        one, other = corner_step[(axis + 1) % 3], corner_step[(axis + 2) % 3]
        ring = [corner, corner + one, corner + one + other, corner + other]
        tets = [
            torch.stack([centre, centre + centre_step[axis], ring[k], ring[(k + 1) % 4]], 1)
            for k in range(4)
        ]
        return torch.stack(tets, 1).view(-1, 4)


def _lattice(side: int) -> Int[Tensor, "m 3"]:
    """x, y, z of side^3 points, x fastest."""
    line = torch.arange(side)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], -1).view(-1, 3)
