"""The same shape from more triangles or fewer: what vertex colours can show, what they weigh."""

import torch

from pipeline.meshes.mesh import Mesh


def quartered(mesh: Mesh) -> Mesh:
    """Every face cut into four at its edges' midpoints, which neighbours share."""
    start, end = mesh.faces, mesh.faces.roll(-1, 1)
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    keys, number = torch.unique(low * len(mesh.vertices) + high, return_inverse=True)
    one, other = keys // len(mesh.vertices), keys % len(mesh.vertices)
    middle = (mesh.vertices[one] + mesh.vertices[other]) / 2
    a, b, c = mesh.faces.unbind(1)
    ab, bc, ca = (number + len(mesh.vertices)).unbind(1)
    corners = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    faces = torch.cat([torch.stack(each, 1) for each in corners])
    return Mesh(torch.cat([mesh.vertices, middle]), faces)


def thinned(mesh: Mesh, most: int) -> Mesh:
    """At most `most` faces: vertices in one cell of a lattice become their mean.

    Faces that close up or repeat are left out (Rossignac and Borrel 1993). What is thinner than a
    cell may be joined to what lies beside it; a mesh with few enough faces is returned as it is.
    """
    found = mesh
    start, end = mesh.vertices[mesh.faces[:, 0]], mesh.vertices[mesh.faces[:, 1]]
    cell = float((end - start).norm(dim=1).mean())
    while len(found.faces) > most:
        cell *= 1.1
        found = _clustered(mesh, cell)
    return found


def _clustered(mesh: Mesh, cell: float) -> Mesh:
    place = torch.floor(mesh.vertices / cell).long()
    _, number, count = torch.unique(place, dim=0, return_inverse=True, return_counts=True)
    total = torch.zeros(len(count), 3, dtype=torch.float64)
    mean = total.index_add(0, number, mesh.vertices.double()) / count[:, None]
    faces = number[mesh.faces]
    open_ = (faces != faces.roll(1, 1)).all(1)
    # The lowest number first, so that a face's repetitions are equal rows whatever they start with.
    faces = faces[open_]
    first = faces.argmin(1, keepdim=True)
    faces = torch.unique(faces.gather(1, (first + torch.arange(3)) % 3), dim=0)
    used, faces = torch.unique(faces, return_inverse=True)
    return Mesh(mean[used].float(), faces.view(-1, 3))
