"""Small meshes and stores whose areas, volumes and counts are known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from citymesh_dask.store.chunks import Array
from citymesh_dask.store.city_store import (
    CHUNK_ROWS,
    create_mesh_arrays,
    write_arrays,
    write_attributes,
    write_mesh_chunk,
    write_table,
)


def block_city() -> dict[str, Array]:
    """Return the open mesh of one 10 m high block on flat ground.

    The domain is 40 x 30 m from (1000, 2000), the ground lies at 5 m, the block stands from (10, 10) to
    (20, 20) inside it with its roof at 15 m: roof 100 m2, terrain 1100 m2, walls 400 m2, rim 140 m.
    """
    x = np.array([0.0, 10, 20, 40])
    y = np.array([0.0, 10, 20, 30])
    grid = np.array([(a, b, 5.0) for b in y for a in x])
    roof = np.array([(10.0, 10, 15), (20, 10, 15), (20, 20, 15), (10, 20, 15)])
    vertices = np.concatenate([grid, roof]) + np.array([1000.0, 2000.0, 0.0])
    terrain = []
    for j in range(3):
        for i in range(3):
            a, b, c, d = j * 4 + i, j * 4 + i + 1, j * 4 + i + 5, j * 4 + i + 4
            if (i, j) != (1, 1):
                terrain += [(a, b, c), (a, c, d)]
    foot, top = (5, 6, 10, 9), (16, 17, 18, 19)
    walls = []
    for k in range(4):
        n = (k + 1) % 4
        walls += [(foot[k], foot[n], top[n]), (foot[k], top[n], top[k])]
    roofs = [(16, 17, 18), (16, 18, 19)]
    faces = np.array(terrain + walls + roofs, dtype=np.int32)
    markers = np.array([-2] * len(terrain) + [0] * len(walls) + [1] * len(roofs), dtype=np.int32)
    building = np.where(markers == -2, -1, 0).astype(np.int32)
    return {"vertices": vertices, "faces": faces, "markers": markers, "building": building}


def write_store(
    path: Path, mesh: dict[str, Array], *, bounds: tuple[float, float, float, float], columns: dict[str, Array]
) -> Path:
    """Write a mesh as a finished one-tile store."""
    n, m = len(mesh["vertices"]), len(mesh["faces"])
    create_mesh_arrays(path, n, m)
    for name, values in mesh.items():
        for index, start in enumerate(range(0, len(values), CHUNK_ROWS[name])):
            write_mesh_chunk(path, name, index, values[start : start + CHUNK_ROWS[name]])
    write_table(path / "buildings", columns)
    write_arrays(
        path / "tiles",
        {"bounds": np.array([bounds]), "vertex_range": np.array([[0, n]]), "face_range": np.array([[0, m]])},
    )
    area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])
    certificate = {"open_edges": 0, "overused_edges": 0, "inconsistent_edges": 0, "inverted_triangles": 0}
    certificate |= {"rim_length": 140.0, "domain_area": area, "mesh_area": area, "area_exact": True}
    write_attributes(
        path,
        {
            "crs": {"wkt": None, "authority": None},
            "bounds": list(bounds),
            "n_buildings": len(columns["id"]),
            "options": {"solid": False, "lod": 1},
            "inputs": [],
            "software": {},
            "terrain": {},
            "certificate": certificate,
            "holes": [],
            "hole_rim_edges": 0,
            "quality": {},
        },
    )
    return path


def block_store(path: Path) -> Path:
    """Write `block_city` as a finished store."""
    columns: dict[str, Array] = {
        "id": np.array(["block"], dtype=object),
        "ground_z": np.array([5.0]),
        "roof_z": np.array([15.0]),
        "area": np.array([100.0]),
        "volume": np.array([1000.0]),
        "status": np.array(["meshed"], dtype=object),
        "reason": np.array([""], dtype=object),
        "merged_into": np.array([-1], dtype=np.int64),
        "height_source": np.array(["points"], dtype=object),
    }
    return write_store(path, block_city(), bounds=(1000.0, 2000.0, 1040.0, 2030.0), columns=columns)
