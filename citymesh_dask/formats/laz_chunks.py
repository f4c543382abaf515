"""LAZ files by the chunks that they are packed in: any range of points, without those before it.

The readers of laspy and lazrs seek, too, but in files whose chunks differ in size, as those of COPC do, they end up
somewhere else (lazrs 0.8.2: other points without an error, or "failed to fill whole buffer").

Source: LASzip specification 1.4-R1, chunk table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import laspy
import lazrs
import numpy as np
import numpy.typing as npt
from laspy import DecompressionSelection, ScaleAwarePointRecord

from ..errors import InputError
from .las_header import DAMAGED, WHOLE

_OFFSET_BYTES = 8
_TABLE_HEAD = np.dtype([("version", "<u4"), ("n_chunks", "<u4")])


@dataclass(frozen=True)
class LazChunks:
    """Where the chunks of a LAZ file are.

    Parameters
    ----------
    path : str
        The file.
    header : laspy.LasHeader
        Its header.
    points : (n + 1,) int64
        First point of each chunk, and the number of points of the file.
    places : (n + 1,) int64
        First byte of each chunk, and the byte behind the last one.
    record : bytes
        How they are packed: the record of LASzip in the header.
    """

    path: str
    header: laspy.LasHeader
    points: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    record: bytes

    @property
    def largest(self) -> int:
        """Most points in a chunk."""
        return int(np.diff(self.points).max())


def laz_chunks(path: str, header: laspy.LasHeader) -> LazChunks:
    """Return where the chunks of a file are.

    Parameters
    ----------
    path : str
        A LAZ file.
    header : laspy.LasHeader
        Its header.

    Raises
    ------
    InputError
        If its table of chunks, which a writer puts at the end, is missing, or belongs to other points.
    """
    record, packing = _packing(path, header)
    size, first = Path(path).stat().st_size, header.offset_to_point_data + _OFFSET_BYTES
    with open(path, "rb") as file:
        end = _table_place(file, header, size)
        if not first <= end <= size - _TABLE_HEAD.itemsize:
            found = f"the file is cut off: its chunk table should be at byte {end} of {size}"
            raise InputError(path, found, "a whole LAZ file", WHOLE)
        table = _table(file, header, end, packing)
    if table is None:
        found = f"the file is cut off or damaged: its chunk table, at byte {end} of {size}, cannot be read"
        raise InputError(path, found, "a whole LAZ file", WHOLE)
    points, places = (np.concatenate([[0], np.cumsum(column)]) for column in table.T)
    points[-1] = min(points[-1], header.point_count)  # of equal chunks the last is counted as full
    fits = points[-1] == header.point_count and first + places[-1] <= end
    if not fits or (np.diff(points) < 0).any() or (np.diff(places) < 0).any():
        found = f"its chunk table has {len(table)} chunks, {points[-1]} points and {places[-1]} bytes, "
        found += f"the file {header.point_count} points in {end - first} bytes"
        raise InputError(path, found, "a table of the same points", DAMAGED)
    return LazChunks(path, header, points, first + places, record)


def _packing(path: str, header: laspy.LasHeader) -> tuple[bytes, lazrs.LazVlr]:
    """Return how points are packed, from the record that LASzip leaves in the header."""
    for record in header.vlrs.get("LasZipVlr"):
        with contextlib.suppress(lazrs.LazrsError):
            packing = lazrs.LazVlr(record.record_data)
            if packing.item_size() == header.point_format.size:
                return bytes(record.record_data), packing
    raise InputError(path, "its header does not say how its points are packed", "a record of LASzip", DAMAGED)


def _table_place(file: BinaryIO, header: laspy.LasHeader, size: int) -> int:
    """Return the byte where the table begins."""
    file.seek(header.offset_to_point_data)
    place = int.from_bytes(file.read(_OFFSET_BYTES), "little", signed=True)
    if place != -1:
        return place
    file.seek(size - _OFFSET_BYTES)  # of a writer that could not go back, such as one into a pipe
    return int.from_bytes(file.read(_OFFSET_BYTES), "little", signed=True)


def _table(file: BinaryIO, header: laspy.LasHeader, place: int, packing: lazrs.LazVlr) -> npt.NDArray[np.int64] | None:
    """Return points and bytes of each chunk, (n, 2); None where the table cannot be read."""
    file.seek(place)
    n_chunks = int(np.frombuffer(file.read(_TABLE_HEAD.itemsize), _TABLE_HEAD)["n_chunks"][0])
    if n_chunks > header.point_count + 1:  # lazrs takes memory for as many as are stated, or ends the process
        return None
    file.seek(header.offset_to_point_data)
    try:
        return np.array(lazrs.read_chunk_table(file, packing), np.uint64).astype(np.int64).reshape(-1, 2)
    except (lazrs.LazrsError, OverflowError):
        return None


def read_chunks(
    chunks: LazChunks, start: int, stop: int, *, most: int, fields: DecompressionSelection
) -> Iterator[ScaleAwarePointRecord]:
    """Yield points ``start:stop`` of a file in order, unpacked in parallel.

    Parameters
    ----------
    chunks : LazChunks
        Its chunks.
    start, stop : int
        Points, in file order.
    most : int
        Most points that are unpacked together; a larger chunk is unpacked alone.
    fields : laspy.DecompressionSelection
        What is unpacked; other fields are zero.

    Raises
    ------
    lazrs.LazrsError
        If the bytes of a chunk cannot be unpacked.
    """
    header, selection = chunks.header, fields.to_lazrs()
    with open(chunks.path, "rb") as file:
        for first, last in pairwise(_groups(chunks.points, start, stop, most)):
            file.seek(chunks.places[first])
            packed = file.read(int(chunks.places[last] - chunks.places[first]))
            counts, sizes = (np.diff(ends[first : last + 1]).tolist() for ends in (chunks.points, chunks.places))
            begin, end = chunks.points[first], chunks.points[last]
            raw = np.zeros((end - begin) * header.point_format.size, np.uint8)
            lazrs.decompress_points_with_chunk_table(
                packed, chunks.record, raw, list(zip(counts, sizes, strict=True)), selection
            )
            wanted = raw.view(header.point_format.dtype())[max(start - begin, 0) : stop - begin]
            yield ScaleAwarePointRecord(wanted, header.point_format, header.scales, header.offsets)


def _groups(points: npt.NDArray[np.int64], start: int, stop: int, most: int) -> list[int]:
    """Return where groups of chunks begin that hold points ``start:stop``, and the chunk behind the last one.

    >>> _groups(np.array([0, 4, 8, 12, 16]), 5, 13, 8)
    [1, 3, 4]
    """
    first = int(np.searchsorted(points, start, side="right")) - 1
    end = int(np.searchsorted(points, stop, side="left"))
    groups = [first]
    while groups[-1] < end:
        fitting = int(np.searchsorted(points, points[groups[-1]] + most, side="right")) - 1
        groups.append(min(max(fitting, groups[-1] + 1), end))
    return groups
