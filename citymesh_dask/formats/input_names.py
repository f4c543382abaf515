"""Names of input files: which stand for files of this machine, and which other files belong to them.

What is in the files belongs to their formats.
"""

from __future__ import annotations

from pathlib import Path

_VIRTUAL = ("/vsi", "http://", "https://", "s3://", "zip://")
_SUFFIXES_BESIDE: dict[str, tuple[str, ...]] = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg"),
    ".tif": (".tfw", ".prj"),
    ".tiff": (".tfw", ".prj"),
    ".asc": (".prj",),
    ".bil": (".hdr", ".prj"),
    ".flt": (".hdr", ".prj"),
    ".img": (".ige",),
    ".tab": (".dat", ".map", ".id"),
}
_ENDINGS_BESIDE: dict[str, tuple[str, ...]] = {
    ".gpkg": ("-wal",),
    ".sqlite": ("-wal",),
    ".tif": (".aux.xml", ".msk"),
    ".tiff": (".aux.xml", ".msk"),
    ".asc": (".aux.xml",),
}


def is_virtual(name: str) -> bool:
    """Return whether a name is one of GDAL's virtual file systems or of a server, no file of this machine.

    >>> is_virtual("/vsizip/city.zip/city.shp"), is_virtual("/data/city.shp")
    (True, False)
    """
    return name.startswith(_VIRTUAL)


def absolute_name(name: str) -> str:
    """Return the name by which other processes find a file, whatever folder they work in."""
    return name if is_virtual(name) else str(Path(name).absolute())


def files_beside(name: str) -> tuple[Path, ...]:
    """Return the files that are read along with a file: tables, CRS, world files, logs; of a folder all files in it.

    Parameters
    ----------
    name : str
        The file or folder.

    Returns
    -------
    tuple of Path
        Those that exist and are not empty, by name.
    """
    file = Path(name)
    if is_virtual(name):
        return ()
    if file.is_dir():
        return tuple(sorted(path for path in file.rglob("*") if path.is_file()))
    kind = file.suffix.lower()
    candidates = [file.with_suffix(form) for s in _SUFFIXES_BESIDE.get(kind, ()) for form in (s, s.upper())]
    candidates += [file.with_name(file.name + ending) for ending in _ENDINGS_BESIDE.get(kind, ())]
    return tuple(path for path in sorted(candidates) if path.is_file() and path.stat().st_size)
