"""One watertight city mesh from footprints and LiDAR, larger than memory.

Names are loaded on first use, so that ``citymesh --help`` costs no more than what it prints.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import build_city_mesh, calculate_optimal_tile_size, connect, should_use_tiling
    from .batch import run_config
    from .city_mesh import CityMesh, open_mesh
    from .errors import (
        CheckError,
        CityMeshError,
        ConfigError,
        CRSError,
        InputError,
        InputMissingError,
        OptionError,
        OutputError,
        PlanError,
        RunError,
        StoreError,
    )
    from .options import CityOptions

_HOMES = {
    "CRSError": "errors",
    "CheckError": "errors",
    "CityMesh": "city_mesh",
    "CityMeshError": "errors",
    "CityOptions": "options",
    "ConfigError": "errors",
    "InputError": "errors",
    "InputMissingError": "errors",
    "OptionError": "errors",
    "OutputError": "errors",
    "PlanError": "errors",
    "RunError": "errors",
    "StoreError": "errors",
    "build_city_mesh": "api",
    "calculate_optimal_tile_size": "api",
    "connect": "api",
    "open_mesh": "city_mesh",
    "run_config": "batch",
    "should_use_tiling": "api",
}

__version__ = "0.1.0"

__all__ = [
    "CRSError",
    "CheckError",
    "CityMesh",
    "CityMeshError",
    "CityOptions",
    "ConfigError",
    "InputError",
    "InputMissingError",
    "OptionError",
    "OutputError",
    "PlanError",
    "RunError",
    "StoreError",
    "build_city_mesh",
    "calculate_optimal_tile_size",
    "connect",
    "open_mesh",
    "run_config",
    "should_use_tiling",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
