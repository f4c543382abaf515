"""Is a vector file there and whole? Asked before GDAL is, which reads half a Shapefile without a word.

Only checks on names, sizes and headers belong here; what is in the layers is read in ``footprints``.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ..errors import InputError, InputMissingError
from .input_names import is_virtual

EXPECTED = "polygons in GPKG, GeoJSON, Shapefile or FlatGeobuf"
TRUNCATED_ADVICE = "the file is cut off; copy or download it again"
_SIGNATURES = {
    ".gpkg": b"SQLite format 3\0",
    ".sqlite": b"SQLite format 3\0",
    ".fgb": b"fgb",
    ".shp": b"\x00\x00\x27\x0a",
}
_SIGNS_OF_A_CUT = ("malformed", "Unterminated", "nexpected end", "parsing feature", "not read feature", "fread")
_MOST_NAMED = 5


def check_whole(path: str) -> None:
    """Raise where a file is missing, empty, of another kind than its name says, or cut off.

    Parameters
    ----------
    path : str
        File or folder; names of GDAL's virtual file systems are let through.

    Raises
    ------
    InputMissingError
        If it does not exist.
    InputError
        If it is not whole.
    """
    if is_virtual(path):
        return
    file = Path(path)
    if not file.exists():
        raise InputMissingError(path, "no such file", EXPECTED, f"check the path; {_neighbours(file)}")
    if file.is_dir():
        return
    if not os.access(file, os.R_OK):
        raise InputError(path, "the file may not be read", "a readable file", "check its permissions")
    if file.stat().st_size == 0:
        raise InputError(path, "the file is empty (0 bytes)", EXPECTED, "copy or download it again")
    _check_signature(file)
    if file.suffix.lower() == ".shp":
        _check_shapefile(file)
    if file.suffix.lower() in (".gpkg", ".sqlite"):
        _check_database(file)


def describe_unreadable(path: str, reason: str) -> InputError:
    """Return the error for a file that GDAL refuses."""
    cut = any(word in reason for word in _SIGNS_OF_A_CUT)
    advice = TRUNCATED_ADVICE if cut else "check that it is a vector file and that it is whole"
    if "not recognized as being in a supported file format" in reason:
        return InputError(path, "its content is no vector data that GDAL knows", EXPECTED, advice)
    return InputError(path, f"it cannot be read: {' '.join(reason.split())[:200]}", EXPECTED, advice)


def _neighbours(file: Path) -> str:
    if not file.parent.is_dir():
        return f"the folder {file.parent} does not exist either"
    names = sorted(p.name for p in file.parent.iterdir() if p.suffix.lower() == file.suffix.lower())
    if not names:
        return f"its folder holds no {file.suffix or 'such'} file"
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return f"its folder holds {', '.join(names[:_MOST_NAMED])}{more}"


def _check_signature(file: Path) -> None:
    expected = _SIGNATURES.get(file.suffix.lower())
    if expected is None:
        return
    with open(file, "rb") as stream:
        start = stream.read(len(expected))
    if start == expected:
        return
    found = f"the content is no {file.suffix[1:]} file (it begins with {start!r})"
    raise InputError(str(file), found, EXPECTED, "rename it to what it is, or give the right file")


def _check_shapefile(file: Path) -> None:
    """Compare sizes with headers: GDAL reads the lost geometries of a cut .shp as empty ones.

    Source: ESRI Shapefile Technical Description (1998), main file header; dBASE III table header.
    """
    index = _companion(file, ".shx")
    if index is None:
        found = f"{file.stem}.shx is missing beside it"
        raise InputError(str(file), found, "the .shp with its .shx and .dbf", "copy all files of the Shapefile")
    for part in (file, index):
        with open(part, "rb") as stream:
            stream.seek(24)
            words = struct.unpack(">i", stream.read(4).ljust(4, b"\0"))[0]
        _check_size(part, 2 * words)
    table = _companion(file, ".dbf")
    if table is not None:
        with open(table, "rb") as stream:
            header = stream.read(32).ljust(32, b"\0")
        records, offset, width = struct.unpack("<IHH", header[4:12])
        _check_size(table, offset + records * width)


def _check_database(file: Path) -> None:
    """Compare the size with the page count. Source: SQLite database file format, section 1.3."""
    with open(file, "rb") as stream:
        header = stream.read(100).ljust(100, b"\0")
    page, pages = struct.unpack(">H", header[16:18])[0], struct.unpack(">I", header[28:32])[0]
    if header[24:28] == header[92:96]:  # only then is the page count up to date
        _check_size(file, (65536 if page == 1 else page) * pages)


def _check_size(file: Path, least: int) -> None:
    size = file.stat().st_size
    if size < least:
        raise InputError(str(file), f"the file has {size} bytes", f"{least} as its header says", TRUNCATED_ADVICE)


def _companion(file: Path, suffix: str) -> Path | None:
    for name in (suffix, suffix.upper()):
        candidate = file.with_suffix(name)
        if candidate.exists():
            return candidate
    return None
