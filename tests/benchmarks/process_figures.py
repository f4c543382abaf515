"""What the kernel says of this process: bytes written, peak of memory."""

from __future__ import annotations

import re
from pathlib import Path


def written_bytes() -> int:
    """Return the bytes that this process has written so far; 0 where the system does not tell."""
    return _number("/proc/self/io", r"wchar: (\d+)")


def peak_bytes() -> int:
    """Return the highest resident memory of this process; 0 where the system does not tell."""
    return _number("/proc/self/status", r"VmHWM:\s+(\d+) kB") * 1024


def _number(path: str, pattern: str) -> int:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0
