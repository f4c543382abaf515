"""The exceptions of citymesh_dask. Only exceptions belong here.

::

    CityMeshError
    ├── InputError(ValueError)           an input file or its content is not usable    exit code 2
    │   ├── InputMissingError(FileNotFoundError)
    │   ├── CRSError                     coordinate reference systems unknown or at odds
    │   └── StoreError                   not a city store, or one of a newer version
    ├── OptionError(ValueError)          an option is out of its limits                exit code 2
    ├── ConfigError(ValueError)          a configuration file cannot be understood     exit code 2
    ├── OutputError(FileExistsError)     the output is in the way or not writable      exit code 2
    ├── PlanError(MemoryError)           the plan does not fit the memory or the disk  exit code 2
    ├── RunError(RuntimeError)           a task failed                                 exit code 1
    └── CheckError(AssertionError)       a mesh does not hold what it must             exit code 1

Every message says where, what was found, what was expected and what to do; the parts stay
readable as attributes.
"""

from __future__ import annotations


class CityMeshError(Exception):
    """Root of all errors raised on purpose by citymesh_dask.

    Parameters
    ----------
    where : str
        File, tile, building, option or key.
    found : str
        What was found there.
    expected : str
        What was expected instead.
    advice : str
        What the reader can do about it.
    """

    def __init__(self, where: str, found: str, expected: str = "", advice: str = "") -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.advice = advice
        super().__init__(where, found, expected, advice)

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.found}"]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.advice:
            parts.append(self.advice)
        return "; ".join(parts)


class InputError(CityMeshError, ValueError):
    """An input file, or something in it, is not usable."""


class InputMissingError(InputError, FileNotFoundError):
    """An input file does not exist."""

    __str__ = CityMeshError.__str__


class CRSError(InputError):
    """Coordinate reference systems are unknown, geographic or at odds with one another."""


class StoreError(InputError):
    """A path is not a city store, or a store of a version that this software cannot read."""


class OptionError(CityMeshError, ValueError):
    """An option is outside its limits."""


class ConfigError(CityMeshError, ValueError):
    """A configuration file cannot be understood."""


class OutputError(CityMeshError, FileExistsError):
    """The output exists already, or cannot be written."""

    __str__ = CityMeshError.__str__


class PlanError(CityMeshError, MemoryError):
    """The plan does not fit the memory or the disk that it may use."""


class RunError(CityMeshError, RuntimeError):
    """A task of a run failed."""


class CheckError(CityMeshError, AssertionError):
    """A mesh does not hold what it must hold."""
