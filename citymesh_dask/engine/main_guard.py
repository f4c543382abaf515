"""Scripts without a main guard: found before, or when, their worker processes begin the same run again."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

from ..errors import OptionError, RunError

MAIN_GUARD = "put the code of the script under if __name__ == '__main__':"


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


def check_main_guard() -> None:
    """Refuse to work in a process that is still importing the main script of its parent.

    A script without a main guard begins the same run in each of its worker processes.

    Raises
    ------
    RunError
        In such a process; its traceback is cut, as the parent says the same again.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.tracebacklimit = 0
        found = "its worker processes, which import it, begin the run again"
        raise RunError("the main script", found, "a main guard", MAIN_GUARD)
