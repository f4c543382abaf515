"""Scripts without a main guard: found before their worker processes begin the same run again."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import OptionError


def refuse_unguarded_script() -> None:
    """Refuse to start worker processes from a script that has no main guard.

    Worker processes import the main script. What never says ``__name__`` cannot tell them from the main process.

    Raises
    ------
    OptionError
        Naming the script and the line that it needs.
    """
    main = sys.modules.get("__main__")
    path, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if path is None or (spec is not None and spec.name.rpartition(".")[2] == "__main__"):
        return  # a session, a notebook, or ``python -m package``: nothing that workers import
    try:
        source = Path(path).read_text(encoding="utf8", errors="replace")
    except OSError:
        return
    if Path(path).suffix != ".py" or "__name__" in source:
        return
    raise OptionError(
        f"the main script {path}",
        "it has no main guard, and its worker processes, which import it, would begin the run again",
        "a script that can be imported",
        "put its code under if __name__ == '__main__': or pass scheduler='threads'",
    )
