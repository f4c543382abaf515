"""What GDAL raises and murmurs while it reads vector files, in words of ours."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pyogrio.errors

from ..errors import InputError
from .vector_integrity import EXPECTED, describe_unreadable

_reading = threading.Lock()


@contextmanager
def reading_vectors(path: str) -> Iterator[None]:
    """Turn what GDAL raises into an error that names the file, and silence what it murmurs.

    One thread at a time: Python's warning filters are global to the process.
    """
    with _reading, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except UnicodeEncodeError as error:
            raise InputError(path, "its name is not in UTF-8", "a name that GDAL can open", "rename it") from error
        except UnicodeDecodeError as error:
            found = f"text that is not in its stated encoding: {error.reason}"
            raise InputError(path, found, EXPECTED, "name the right encoding in its .cpg file") from error
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise describe_unreadable(path, str(error)) from error
