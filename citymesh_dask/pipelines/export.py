"""A finished store to one file: VTU, PLY, OBJ, STL or a picture, in pieces and bounded memory.

The bytes of a format belong to `citymesh_dask.formats.surface`, pixels to `citymesh_dask.geometry.drawing.drawing`;
here stand the table of extensions, the care for the output file and the walk over the store.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import OptionError
from ..formats.surface import SURFACE_FORMATS
from ..formats.surface.source import CornerReader, read_pieces
from ..formats.surface.stl import local_origin
from ..formats.whole_file import check_disk, check_target, finished_file
from ..geometry.drawing.camera import View
from ..geometry.drawing.colours import EARTH, Colouring
from ..geometry.drawing.drawing import Canvas
from ..geometry.drawing.overview import Overview, OverviewGrid, field_faces
from ..store.city_store import OVERVIEW, CityStore
from ..store.partial import open_any
from ..store.schema import FACE_CHUNK_ROWS

PICTURE = ".png"
EXTENSIONS = (*SURFACE_FORMATS, PICTURE)
"""What `export_store` can write; the writers stand in `SURFACE_FORMATS`."""

LARGEST_PICTURE = 12_000
"""Pixels along an edge; a picture takes about 40 bytes of memory per pixel."""

DRAWN_ROWS = 1 << 16
"""Faces that are drawn at a time; with their corners they take about 250 bytes each."""

Progress = Callable[[int, int], None]
"""Called with the rows (vertices and faces) that are done and with all rows."""


@dataclass(frozen=True)
class Picture:
    """How a picture of a store looks.

    Parameters
    ----------
    colour : {"marker", "building", "height"}
        What the colours tell.
    size : tuple of 2 int
        Width and height, pixels.
    view : View
        From where it is taken, and which part of the city it shows.

    Raises
    ------
    OptionError
        If there is no such colouring, or the size is out of its limits.
    """

    colour: str = "marker"
    size: tuple[int, int] = (1600, 1000)
    view: View = field(default_factory=View)

    def __post_init__(self) -> None:
        Colouring(self.colour, 0)
        if len(self.size) != 2 or not all(16 <= edge <= LARGEST_PICTURE for edge in self.size):
            raise OptionError("option size", str(self.size), f"width and height of 16 to {LARGEST_PICTURE} pixels")


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Parameters
    ----------
    path : str
        The file.
    beside : str or None
        JSON file beside it with the shift of the coordinates, where there is one.
    n_vertices, n_faces : int
        Size of the mesh.
    bytes_written : int
        Size of the file.
    shift : tuple of 3 float
        Metres to add to the coordinates in the file to have those of the project CRS.
    seconds : float
        Wall time.
    """

    path: str
    beside: str | None
    n_vertices: int
    n_faces: int
    bytes_written: int
    shift: tuple[float, float, float]
    seconds: float


def export_store(
    store_path: str | Path,
    out_path: str | Path,
    *,
    colour: str = "marker",
    size: tuple[int, int] = (1600, 1000),
    view: View | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a finished store as one file; its extension chooses the format.

    The file is written beside its final name and renamed, so that it is whole or not there.

    Parameters
    ----------
    store_path : path
        Store that `build_city_mesh` wrote, or the scratch folder of a run, of which the finished tiles are taken.
    out_path : path
        A name that ends in ``.vtu``, ``.ply``, ``.obj``, ``.stl`` or ``.png``.
    colour, size, view
        Of a picture, see `Picture`; other formats do not look at them.
    overwrite : bool
        Whether a file of that name may be replaced.
    progress : callable, optional
        Called with rows done and all rows.

    Raises
    ------
    OptionError
        If there is no such format, or an option of the picture is out of its limits.
    StoreError
        If the path is not a finished store, or a chunk of it is damaged.
    OutputError
        If the output exists, or cannot be written.
    """
    start = time.monotonic()
    out = Path(out_path)
    picture = Picture(colour, size, view or View())
    extension = _known_extension(out)
    store = open_any(store_path)
    single = extension != PICTURE and SURFACE_FORMATS[extension].single_precision
    note = out.with_name(f"{out.name}.json") if single else None
    for target in (out, note) if note else (out,):
        check_target(target, overwrite=overwrite)
    if extension != PICTURE:
        form = SURFACE_FORMATS[extension]
        check_disk(out, form.vertex_bytes * store.n_vertices + form.face_bytes * store.n_faces)
    advance = _counter(store.n_vertices + store.n_faces, progress)
    shift = local_origin(store) if single else (0.0, 0.0, 0.0)
    with finished_file(out) as file:
        if extension == PICTURE:
            file.write(draw_store(store, picture, advance=advance))
        else:
            SURFACE_FORMATS[extension].write(store, file, advance)
    if note is not None:
        _write_note(note, shift, store)
    return ExportReport(
        path=str(out),
        beside=None if note is None else str(note),
        n_vertices=store.n_vertices,
        n_faces=store.n_faces,
        bytes_written=out.stat().st_size,
        shift=shift,
        seconds=time.monotonic() - start,
    )


def draw_store(store: CityStore, picture: Picture, *, advance: Callable[[int], None] | None = None) -> bytes:
    """Draw a finished store as a PNG; the same store and options give the same bytes.

    Parameters
    ----------
    store : CityStore
        The store; only pieces of it are in memory.
    picture : Picture
        How it shall look.
    advance : callable, optional
        Called with the rows done since the last call.

    Returns
    -------
    bytes
        The PNG file.
    """
    overview = _read_overview(store) if picture.view.crop is None else None
    vertices = _places(overview) if overview else read_pieces(store, "vertices")
    box, heights = _survey(store, vertices, picture.view, advance=advance)
    colouring = Colouring(picture.colour, store.n_buildings, heights)
    canvas = Canvas(picture.view, box, size=picture.size)
    foot = float(box[0, 2])
    surface = field_faces(*overview, n_rows=store.n_buildings) if overview else _drawn_faces(store)
    for corners, markers, building in surface:
        canvas.add(corners, colouring.paint(markers, building, corners))
        skirt = _skirt(corners, store.attributes.get("bounds"), foot=foot)
        canvas.add(skirt, np.full(len(skirt), EARTH, np.uint8), shadows=False)
        if advance is not None:
            advance(len(corners))
    data = io.BytesIO()
    Image.fromarray(canvas.develop(colouring.palette())).save(data, "PNG", optimize=False, compress_level=6)
    return data.getvalue()


def _read_overview(store: CityStore) -> tuple[OverviewGrid, Overview] | None:
    """Return what a large store shows from far away; None where it has no overview, and is drawn face by face."""
    if not (store.path / OVERVIEW / "heights").is_dir():
        return None
    xmin, ymin, xmax, ymax = store.attributes["bounds"]
    heights, markers = store.read(f"{OVERVIEW}/heights"), store.read(f"{OVERVIEW}/markers")
    return OverviewGrid.over((xmin, ymin, xmax, ymax), max(heights.shape)), Overview(0, 0, heights, markers)


def _places(overview: tuple[OverviewGrid, Overview]) -> Iterator[npt.NDArray[np.float64]]:
    """Yield a place in space for every cell of an overview that shows something, and the corners of the domain."""
    grid, shown = overview
    row, column = np.nonzero(np.isfinite(shown.heights))
    x, y = grid.lines()
    yield np.stack([x[column], y[row], shown.heights[row, column].astype(np.float64)], axis=1)
    yield np.stack([x[[0, -1]], y[[0, -1]], np.full(2, float(np.nanmin(shown.heights)))], axis=1)


def _drawn_faces(store: CityStore) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield corners, markers and building in pieces of `DRAWN_ROWS`, each chunk of the store read once."""
    reader = CornerReader(store)
    for start in range(0, store.n_faces, FACE_CHUNK_ROWS):
        whole = [store.read(name, start, start + FACE_CHUNK_ROWS) for name in ("faces", "markers", "building")]
        for low in range(0, len(whole[0]), DRAWN_ROWS):
            faces, markers, building = (rows[low : low + DRAWN_ROWS] for rows in whole)
            yield reader.corners(faces), markers, building


def _survey(
    store: CityStore,
    pieces: Iterable[npt.NDArray[np.float64]],
    view: View,
    *,
    advance: Callable[[int], None] | None,
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """Return the box to look at, and the heights of the first and last colour, from pieces of all vertices."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    metres = np.zeros(1 << 14, np.int64)  # heights by whole metre from -1000 m
    for piece in pieces:
        if advance is not None:
            advance(len(piece))
        if view.crop is not None:
            west, south, east, north = view.crop
            x, y = piece[:, 0], piece[:, 1]
            piece = piece[(x >= west) & (x <= east) & (y >= south) & (y <= north)]
        if len(piece):
            low, high = np.minimum(low, piece.min(axis=0)), np.maximum(high, piece.max(axis=0))
            steps = np.clip(piece[:, 2] + 1000.0, 0, len(metres) - 1).astype(np.int64)
            metres += np.bincount(steps, minlength=len(metres))
    if not np.isfinite(low).all():
        place = "the crop" if view.crop is not None else str(store.path)
        raise OptionError(
            place, "no part of the mesh in it", "a part of the city", "see 'citymesh info' for its bounds"
        )
    box = np.array([low, high])
    if view.crop is not None:
        box[:, :2] = np.reshape(view.crop, (2, 2))
    # one tower in a thousand must not leave the whole city in the first colour
    share = np.searchsorted(np.cumsum(metres), metres.sum() * 0.995) - 999.0
    box[0, 2] -= 0.015 * float((high - low)[:2].max())
    return box, (float(low[2]), min(float(share), float(high[2])))


def _skirt(corners: npt.NDArray[np.float64], bounds: list[float] | None, *, foot: float) -> npt.NDArray[np.float64]:
    """Return the cut through the ground under the edges on the frame of the domain, as triangles."""
    if bounds is None:
        return np.empty((0, 3, 3))
    on_frame = [corners[:, :, axis] == value for axis, value in zip((0, 1, 0, 1), bounds, strict=True)]
    found = []
    for k in range(3):
        n = (k + 1) % 3
        on_edge = np.logical_or.reduce([side[:, k] & side[:, n] for side in on_frame])
        first, second = corners[on_edge, k], corners[on_edge, n]
        drop_first, drop_second = first.copy(), second.copy()
        drop_first[:, 2] = drop_second[:, 2] = foot
        found += [np.stack([first, drop_first, second], axis=1), np.stack([second, drop_first, drop_second], axis=1)]
    return np.concatenate(found)


def _known_extension(out: Path) -> str:
    extension = out.suffix.lower()
    if extension not in EXTENSIONS:
        found = f"extension {extension!r}" if extension else "no extension"
        raise OptionError(str(out), found, f"one of {' '.join(EXTENSIONS)}", "the extension chooses the format")
    return extension


def _counter(total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, total)

    return advance


def _write_note(note: Path, shift: tuple[float, float, float], store: CityStore) -> None:
    crs = (store.attributes.get("crs") or {}).get("authority")
    text = json.dumps({"shift": list(shift), "unit": "metre", "crs": crs, "meaning": "add shift to the coordinates"})
    with finished_file(note) as file:
        file.write(text.encode() + b"\n")
