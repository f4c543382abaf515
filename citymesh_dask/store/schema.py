"""The format of a city store: array names, dtypes, axes and units, in one table.

``docs/store.md`` is the page for people; a test holds it against this table.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT_NAME = "citymesh"
FORMAT_VERSION = 1

FACE_CHUNK_ROWS = 1 << 19
VERTEX_CHUNK_ROWS = 1 << 18
TABLE_CHUNK_ROWS = 1 << 16


@dataclass(frozen=True)
class ArraySpec:
    """One array of the store.

    Parameters
    ----------
    name : str
        Path inside the store.
    dtypes : tuple of str
        Data types that it may have.
    axes : str
        Its shape in words.
    unit : str
        Unit, or "" where it has none.
    meaning : str
        What stands in it.
    """

    name: str
    dtypes: tuple[str, ...]
    axes: str
    unit: str
    meaning: str


ARRAYS: tuple[ArraySpec, ...] = (
    ArraySpec("vertices", ("float64",), "(n, 3)", "m", "x, y, z in the project CRS"),
    ArraySpec("faces", ("int32", "int64"), "(m, 3)", "", "vertex indices, counter-clockwise seen from outside"),
    ArraySpec("markers", ("int32",), "(m,)", "", "-2 terrain, i wall and N + i roof of building i, -3 side, -4 base"),
    ArraySpec("building", ("int32",), "(m,)", "", "row of the building table, -1 where no building"),
    ArraySpec("buildings/id", ("string",), "(N,)", "", "identifier as in the source"),
    ArraySpec("buildings/ground_z", ("float64",), "(N,)", "m", "lowest terrain on the outline; NaN where not meshed"),
    ArraySpec("buildings/roof_z", ("float64",), "(N,)", "m", "height of the flat roof; NaN where not meshed"),
    ArraySpec("buildings/area", ("float64",), "(N,)", "m2", "area of the cleaned outline; 0 where not meshed"),
    ArraySpec("buildings/volume", ("float64",), "(N,)", "m3", "area x (roof_z - ground_z); 0 where not meshed"),
    ArraySpec("buildings/status", ("string",), "(N,)", "", "meshed, repaired, clipped, merged or skipped"),
    ArraySpec("buildings/reason", ("string",), "(N,)", "", "how it was repaired, or why it was skipped"),
    ArraySpec("buildings/merged_into", ("int64",), "(N,)", "", "row that it was merged into, -1 where it was not"),
    ArraySpec("buildings/height_source", ("string",), "(N,)", "", "where its height comes from"),
    ArraySpec("tiles/bounds", ("float64",), "(t, 4)", "m", "xmin, ymin, xmax, ymax in the project CRS"),
    ArraySpec("tiles/vertex_range", ("int64",), "(t, 2)", "", "first and past-the-end vertex"),
    ArraySpec("tiles/face_range", ("int64",), "(t, 2)", "", "first and past-the-end face"),
)

ATTRIBUTES: tuple[tuple[str, str], ...] = (
    ("format", "always citymesh"),
    ("format_version", "whole number; software refuses stores of a newer version"),
    ("crs", "object with wkt and authority (for example EPSG:28992, or null)"),
    ("bounds", "xmin, ymin, xmax, ymax of the domain, metres"),
    ("n_buildings", "N, the rows of the building table"),
    ("options", "the options of the run by name"),
    ("inputs", "one object per input file: role, path, size, fingerprint, and the hash of all bytes if verified"),
    ("software", "versions by package name"),
    ("terrain", "share of filled cells and largest hole in metres"),
    ("certificate", "what the reduction proved: see below"),
    ("holes", "tiles that failed and are missing: tile, bounds, cause, buildings, reach; empty for a whole mesh"),
    ("hole_rim_edges", "edges around all holes, each of one face"),
    ("quality", "histograms of angles and counts"),
)

CERTIFICATE: tuple[tuple[str, str], ...] = (
    ("open_edges", "edges inside the domain that only one face uses"),
    ("overused_edges", "edges that more than two faces use"),
    ("inconsistent_edges", "edges that two faces use in the same direction"),
    ("inverted_triangles", "terrain and roof triangles of no or negative area"),
    ("rim_length", "length of the outer rim in plan, metres"),
    ("domain_area", "area of the domain, square metres"),
    ("mesh_area", "area of terrain and roofs in plan, square metres"),
    ("area_exact", "true if both are the same integer in the fixed-point plane"),
)
