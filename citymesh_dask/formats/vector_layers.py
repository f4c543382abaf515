"""Which layer of a vector file holds the polygons. Only names and types of layers, no features."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from ..errors import InputError
from .vector_integrity import EXPECTED

_POLYGON_TYPES = ("Polygon", "MultiPolygon", "CurvePolygon", "MultiSurface")
_OPEN_TYPES = ("Unknown", "GeometryCollection")


def is_polygonal(kind: str) -> bool:
    """Return whether a geometry type of GDAL promises polygons.

    >>> is_polygonal("MultiPolygon Z"), is_polygonal("Unknown")
    (True, False)
    """
    return kind.split(" ")[0] in _POLYGON_TYPES


def choose_layer(path: str, layers: Mapping[str, str], layer: str | None) -> str:
    """Return the layer to read: the one named, else the only one with polygons.

    Parameters
    ----------
    path : str
        The file, for messages.
    layers : mapping of str to str
        Geometry type by layer.
    layer : str or None
        The name that was asked for.

    Raises
    ------
    InputError
        If there is no such layer, none with polygons, or several; all layers are listed.
    """
    listed = ", ".join(f"{name} ({kind})" for name, kind in layers.items()) or "none"
    if layer is not None:
        if layer not in layers:
            near = difflib.get_close_matches(layer, layers, n=1)
            hint = f"did you mean --layer {near[0]}?" if near else "name one of them with --layer"
            raise InputError(path, f"no layer {layer!r}", f"one of its layers: {listed}", hint)
        if not _may_hold_polygons(layers[layer]):
            raise InputError(path, f"layer {layer!r} holds {layers[layer]}, no polygon", EXPECTED, f"layers: {listed}")
        return layer
    polygons = [name for name, kind in layers.items() if is_polygonal(kind)]
    polygons = polygons or [name for name, kind in layers.items() if _may_hold_polygons(kind)]
    if not polygons:
        raise InputError(path, "no polygon in it", EXPECTED, f"its layers: {listed}")
    if len(polygons) > 1:
        raise InputError(path, f"{len(polygons)} layers with polygons: {listed}", "one", "name it with --layer")
    return polygons[0]


def _may_hold_polygons(kind: str) -> bool:
    return is_polygonal(kind) or kind.split(" ")[0] in _OPEN_TYPES
