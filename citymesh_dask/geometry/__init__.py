"""Arrays in, arrays out: no files, no Dask, no Zarr."""

from .kernel_cache import find_cache

find_cache()
