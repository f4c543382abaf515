"""Surface formats: what is written reads back as what stands in the store."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from citymesh_dask.errors import OutputError
from citymesh_dask.formats.surface import SURFACE_FORMATS
from citymesh_dask.formats.surface.source import PIECE_ROWS, CornerReader
from citymesh_dask.formats.surface.stl import local_origin
from citymesh_dask.formats.whole_file import finished_file
from citymesh_dask.store.city_store import CityStore, open_store
from tests.builders import block_store
from tests.large_stores import EndlessStrip, Sink, hill_store


@pytest.fixture(scope="module", params=["block", "hill"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CityStore:
    path = tmp_path_factory.mktemp("surface") / "city.zarr"
    return open_store(block_store(path) if request.param == "block" else hill_store(path))


@pytest.fixture(scope="module")
def hill(tmp_path_factory: pytest.TempPathFactory) -> CityStore:
    return open_store(hill_store(tmp_path_factory.mktemp("hill") / "hill.zarr", 150))


def written(store: Any, extension: str) -> bytes:
    file = io.BytesIO()
    rows: list[int] = []
    SURFACE_FORMATS[extension].write(store, file, rows.append)
    assert sum(rows) == store.n_vertices + store.n_faces
    return file.getvalue()


def read_vtu(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays of a VTU file with appended raw data."""
    head, _, raw = data.partition(b'<AppendedData encoding="raw">\n_')
    root = ElementTree.fromstring(head + b"</VTKFile>")
    assert root.attrib["header_type"] == "UInt64" and root.attrib["byte_order"] == "LittleEndian"
    piece = root.find("UnstructuredGrid/Piece")
    assert piece is not None
    arrays = {}
    end = 0
    for entry in root.iter("DataArray"):
        offset = int(entry.attrib["offset"])
        assert offset == end, "arrays follow one another without gaps"
        size = int(np.frombuffer(raw, "<u8", 1, offset)[0])
        end = offset + 8 + size
        dtype = np.dtype(entry.attrib["type"].lower()).newbyteorder("<")
        arrays[entry.attrib["Name"]] = np.frombuffer(raw[offset + 8 : end], dtype)
    assert raw[end:].split() == [b"</AppendedData>", b"</VTKFile>"]
    assert int(piece.attrib["NumberOfPoints"]) * 3 == len(arrays["Points"])
    assert int(piece.attrib["NumberOfCells"]) == len(arrays["types"])
    return arrays


def test_vtu_equals_the_store(store: CityStore) -> None:
    arrays = read_vtu(written(store, ".vtu"))
    assert np.array_equal(arrays["Points"].reshape(-1, 3), store.read("vertices"))
    assert np.array_equal(arrays["connectivity"].reshape(-1, 3), store.read("faces"))
    assert arrays["connectivity"].dtype == np.int32
    assert np.array_equal(arrays["offsets"], 3 * np.arange(1, store.n_faces + 1))
    assert set(arrays["types"].tolist()) == {5}
    assert np.array_equal(arrays["markers"], store.read("markers"))
    assert np.array_equal(arrays["building"], store.read("building"))


def test_ply_equals_the_store(store: CityStore) -> None:
    mesh = trimesh.load(io.BytesIO(written(store, ".ply")), file_type="ply", process=False)
    assert np.array_equal(mesh.vertices, store.read("vertices"))
    assert np.array_equal(mesh.faces, store.read("faces"))
    rows = mesh.metadata["_ply_raw"]["face"]["data"]
    assert np.array_equal(np.ravel(rows["markers"]), store.read("markers"))
    assert np.array_equal(np.ravel(rows["building"]), store.read("building"))


def test_stl_equals_the_store_after_the_shift(store: CityStore) -> None:
    data = written(store, ".stl")
    assert not data.startswith(b"solid")
    shift = np.array([float(word) for word in re.findall(rb"-?\d+", data[:80].split(b"shift")[1])])
    assert shift.tolist() == list(local_origin(store))
    mesh = trimesh.load(io.BytesIO(data), file_type="stl", process=False)
    wanted = store.read("vertices")[store.read("faces")]
    assert np.abs(mesh.triangles + shift - wanted).max() < 1e-4
    assert np.allclose(np.linalg.norm(mesh.face_normals, axis=1), 1.0)
    across = np.cross(wanted[:, 1] - wanted[:, 0], wanted[:, 2] - wanted[:, 0])
    assert (np.einsum("ij,ij->i", across, mesh.face_normals) > 0).all()


def read_obj(text: str) -> tuple[list[list[float]], dict[str, set[tuple[int, ...]]]]:
    """Read vertices and the faces of each group."""
    vertices, groups, group = [], defaultdict(set), ""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(word) for word in rest.split()])
        elif kind == "g":
            group = rest
        elif kind == "f":
            groups[group].add(tuple(int(word) - 1 for word in rest.split()))
        else:
            assert kind == "#"
    return vertices, groups


def test_obj_keeps_all_digits_and_groups_by_building(hill: CityStore) -> None:
    vertices, groups = read_obj(written(hill, ".obj").decode("ascii"))
    assert np.array_equal(np.array(vertices), hill.read("vertices"))
    assert set(groups) == {"terrain", "building_0", "building_1"}
    faces, building = hill.read("faces"), hill.read("building")
    for name, row in (("terrain", -1), ("building_0", 0), ("building_1", 1)):
        assert groups[name] == {tuple(face) for face in faces[building == row].tolist()}


def test_obj_is_read_by_others_and_names_the_buildings(hill: CityStore) -> None:
    data = written(hill, ".obj")
    mesh = trimesh.load(io.BytesIO(data), file_type="obj", process=False, force="mesh", maintain_order=True)
    assert len(mesh.faces) == hill.n_faces
    assert mesh.area == pytest.approx(trimesh.Trimesh(hill.read("vertices"), hill.read("faces"), process=False).area)
    names = [json.loads(line.split(" id ")[1]) for line in data.decode().splitlines() if line.startswith("# building_")]
    assert names == ["first", 'nasty "id"\nv 1 2 3 \\']


def test_sides_and_base_of_solids_are_groups_of_their_own() -> None:
    class Solid(EndlessStrip):
        def read(self, name: str, start: int = 0, stop: int | None = None) -> Any:
            if name == "building":
                return np.full(4, -1, np.int32)
            return np.array([-2, -3, -4, -2], np.int32) if name == "markers" else super().read(name, start, stop)

    _, groups = read_obj(written(Solid(4), ".obj").decode())
    assert {name: len(faces) for name, faces in groups.items()} == {"terrain": 2, "side": 1, "base": 1}


def test_names_of_coordinates_and_labels_stand_in_the_headers() -> None:
    strip = EndlessStrip(3)
    for extension in (".vtu", ".ply", ".obj"):
        assert b"EPSG:28992" in written(strip, extension)[:1000]


@pytest.mark.parametrize("extension", sorted(SURFACE_FORMATS))
def test_an_empty_mesh_is_written(extension: str) -> None:
    class Nothing(EndlessStrip):
        def __init__(self) -> None:
            super().__init__(0)
            self.n_vertices = 0

    assert written(Nothing(), extension)


@pytest.mark.parametrize(
    ("extension", "faces"), [(".vtu", 1 << 22), (".ply", 1 << 22), (".stl", 1 << 22), (".obj", 1 << 17)]
)
def test_memory_does_not_grow_with_the_mesh(extension: str, faces: int) -> None:
    def peak(count: int) -> tuple[int, int]:
        sink = Sink()
        tracemalloc.start()
        try:
            SURFACE_FORMATS[extension].write(EndlessStrip(count), sink, lambda rows: None)  # type: ignore[arg-type]
            return tracemalloc.get_traced_memory()[1], sink.written
        finally:
            tracemalloc.stop()

    small, _ = peak(faces // 2)
    large, size = peak(faces)
    form = SURFACE_FORMATS[extension]
    assert large < 1.1 * small + (2 << 20)
    assert large < 96 << 20
    projected = form.vertex_bytes * (faces + 2) + form.face_bytes * faces
    # text is shorter where coordinates have few digits
    assert (0.5 if extension == ".obj" else 0.999) * projected < size < projected + 2000


def test_meshes_beyond_the_integers_of_a_format_are_refused(tmp_path: Path) -> None:
    strip = EndlessStrip(1 << 33)
    for extension in (".ply", ".stl"):
        target = tmp_path / f"city{extension}"
        with pytest.raises(OutputError, match="vtu"), finished_file(target) as file:
            SURFACE_FORMATS[extension].write(strip, file, lambda rows: None)
    assert not list(tmp_path.iterdir())


def test_corners_come_through_a_bounded_cache() -> None:
    strip = EndlessStrip(12 * PIECE_ROWS)
    reader = CornerReader(strip, keep=2)
    faces = np.random.default_rng(1).integers(0, strip.n_vertices, (500, 3))
    whole = strip.read("vertices")
    for piece in (faces, faces[:1], faces[:0], faces[faces.max(axis=1) < PIECE_ROWS]):
        assert np.array_equal(reader.corners(piece), whole[piece])
        assert len(reader._blocks) <= 2
