"""``python -m citymesh_dask``: the same as the command ``citymesh``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
