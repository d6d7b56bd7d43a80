"""Run xatlas on a file of triangles, in a process of its own.

    python -m pipeline.meshes.atlas_worker IN.npz OUT.npz

xatlas is native code that can crash or run for ever on some meshes; here it can be given up without
losing the caller. IN holds `vertices` (v, 3), `faces` (f, 3), `resolution` and `padding`; OUT holds
`source`, `faces`, `uv` and `size` as in `unwrap.Atlas`.
"""

import sys

import numpy as np


def main(into: str, out: str) -> None:
    """Writes OUT as the module's docstring says. Raises ValueError where one texture is too few."""
    import xatlas

    given = np.load(into, allow_pickle=False)
    atlas, packing = xatlas.Atlas(), xatlas.PackOptions()
    packing.resolution, packing.padding = int(given["resolution"]), int(given["padding"])
    packing.bilinear = True
    atlas.add_mesh(given["vertices"].astype(np.float32), given["faces"].astype(np.uint32))
    atlas.generate(xatlas.ChartOptions(), packing)
    if atlas.atlas_count != 1:
        raise ValueError(f"its charts fill {atlas.atlas_count} textures")
    source, faces, uv = atlas.get_mesh(0)
    np.savez(
        out,
        source=source.astype(np.int64),
        faces=faces.astype(np.int64),
        uv=uv.astype(np.float32),
        size=np.array([atlas.height, atlas.width]),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
