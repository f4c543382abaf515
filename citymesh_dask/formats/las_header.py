"""Is a LAS or LAZ file there, and a LAS file whole? Asked of the header's bytes before laspy is.

A damaged header makes a reader allocate without limit or read half a file without a word; here the
few numbers that matter are compared with the size of the file. Nothing else about points belongs here.

Source: ASPRS LAS specification 1.4-R15, public header block.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, InputMissingError

EXPECTED = "a LAS or LAZ file"
WHOLE = "copy or download it again"
DAMAGED = "the file is damaged; copy or download it again"
_HEADER_BYTES = 375
_OLD_HEADER_BYTES = 227
_VLR_BYTES = 54
_RECORD_BYTES = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)
"""Least bytes of a point record of formats 0 to 10."""


@dataclass(frozen=True)
class LasHeader:
    """Numbers of the public header block.

    Parameters
    ----------
    version : (int, int)
        Major and minor.
    point_format : int
        0 to 10.
    compressed : bool
        True for LAZ.
    n_points : int
        Points, at least one.
    bounds : (float, float, float, float, float, float)
        Least x, y, z, greatest x, y, z.
    scales, offsets : (float, float, float)
        Coordinates are ``integer * scale + offset``.
    """

    version: tuple[int, int]
    point_format: int
    compressed: bool
    n_points: int
    bounds: tuple[float, float, float, float, float, float]
    scales: tuple[float, float, float]
    offsets: tuple[float, float, float]


def read_las_header(path: str) -> LasHeader:
    """Return the header of a file, after checking that the file can hold what it says.

    Raises
    ------
    InputMissingError
        If there is no such file.
    InputError
        If it is empty, no LAS file, cut off, damaged, or without points.
    """
    size = _file_size(path)
    with open(path, "rb") as stream:
        head = stream.read(_HEADER_BYTES)
        _check_signature(path, head)
        header_bytes, data_start, n_vlrs = struct.unpack_from("<HII", head, 94)
        layout, record = struct.unpack_from("<BH", head, 104)
        header = _parse(head, layout)
        _check_layout(path, header, (header_bytes, data_start, n_vlrs, record), size)
        if header.n_points == 0:
            raise InputError(path, "it holds no points", "at least one point", "leave the file out")
        if not header.compressed and data_start + header.n_points * record > size:
            missing = data_start + header.n_points * record - size
            found = f"the file is cut off: {missing} of the bytes that its {header.n_points} points take are missing"
            raise InputError(path, found, f"{size + missing} bytes", WHOLE)
    _check_numbers(path, header)
    return header


def _file_size(path: str) -> int:
    file = Path(path)
    if not file.exists():
        raise InputMissingError(path, "no such file", EXPECTED, "check the path")
    if not file.is_file() or not os.access(file, os.R_OK):
        raise InputError(path, "it is no file that may be read", EXPECTED, "check the path and its permissions")
    size = file.stat().st_size
    if size == 0:
        raise InputError(path, "the file is empty (0 bytes)", EXPECTED, WHOLE)
    return size


def _check_signature(path: str, head: bytes) -> None:
    if head[:4] != b"LASF":
        found = f"the content is no LAS file (it begins with {head[:8]!r})"
        raise InputError(path, found, EXPECTED, "give the right file, or convert it with PDAL")
    if len(head) < _OLD_HEADER_BYTES or (head[25] >= 4 and len(head) < _HEADER_BYTES):
        raise InputError(path, f"the file is cut off inside its header ({len(head)} bytes)", EXPECTED, WHOLE)


def _parse(head: bytes, layout: int) -> LasHeader:
    version = (head[24], head[25])
    (n_points,) = struct.unpack_from("<Q", head, 247) if version >= (1, 4) else struct.unpack_from("<I", head, 107)
    scales = struct.unpack_from("<3d", head, 131)
    offsets = struct.unpack_from("<3d", head, 155)
    x1, x0, y1, y0, z1, z0 = struct.unpack_from("<6d", head, 179)
    compressed = bool(layout & 0xC0)  # LASzip marks the format with the highest bits
    return LasHeader(version, layout & 0x3F, compressed, n_points, (x0, y0, z0, x1, y1, z1), scales, offsets)


def _check_layout(path: str, header: LasHeader, layout: tuple[int, int, int, int], size: int) -> None:
    header_bytes, data_start, n_vlrs, record = layout
    if header.version[0] != 1 or header.version[1] > 4 or header.point_format >= len(_RECORD_BYTES):
        version = ".".join(map(str, header.version))
        found = f"version {version}, point format {header.point_format}"
        raise InputError(path, found, "LAS 1.0 to 1.4, point formats 0 to 10", DAMAGED)
    if header_bytes < _OLD_HEADER_BYTES or record < _RECORD_BYTES[header.point_format]:
        raise InputError(path, f"header of {header_bytes} bytes, points of {record} bytes", "LAS sizes", DAMAGED)
    if header_bytes + n_vlrs * _VLR_BYTES > data_start:
        found = f"{n_vlrs} variable length records before byte {data_start}"
        raise InputError(path, found, "records that fit between header and points", DAMAGED)
    if data_start > size or (data_start + 8 > size and header.n_points):
        raise InputError(path, f"the file is cut off: its points begin at byte {data_start} of {size}", "", WHOLE)


def _check_numbers(path: str, header: LasHeader) -> None:
    numbers = (*header.bounds, *header.scales, *header.offsets)
    if not all(map(math.isfinite, numbers)) or min(header.scales) <= 0:
        found = f"bounds {header.bounds}, scales {header.scales}, offsets {header.offsets} in its header"
        raise InputError(path, found, "finite numbers and positive scales", DAMAGED)
    x0, y0, z0, x1, y1, z1 = header.bounds
    if x0 > x1 or y0 > y1 or z0 > z1 or (x0 == x1 and y0 == y1 and header.n_points > 1):
        found = f"impossible extent {header.bounds} in its header"
        advice = "rewrite the file so that its header is made anew, for example with pdal translate"
        raise InputError(path, found, "a box around its points", advice)
