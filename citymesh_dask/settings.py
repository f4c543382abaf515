"""How a run is done: memory, workers, folders, failures. Nothing here changes the mesh.

As in `options`, the default of a setting is the dataclass default, its kind and help text the metadata of the field;
the interface, the command line and the configuration files are made from here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .errors import OptionError


def _setting(default: Any, help: str, *, kind: str, choices: tuple[str, ...] = (), low: int = 0) -> Any:
    return field(default=default, metadata={"help": help, "kind": kind, "choices": choices, "low": low})


@dataclass(frozen=True)
class RunSettings:
    """How a job is run; has no influence on the mesh.

    Every field is also a keyword of `build_city_mesh`, with the same default, and a flag of
    ``citymesh build``.

    Raises
    ------
    OptionError
        If a value is of the wrong type or none of the choices.
    """

    memory_limit: str | int = _setting(
        "auto", "memory of the whole process tree, such as 2GB; auto: 0.6 of what is free", kind="size"
    )
    n_workers: str | int = _setting("auto", "worker processes or threads", kind="count", low=1)
    scheduler: str = _setting(
        "processes", "where tasks run", kind="choice", choices=("processes", "threads", "synchronous")
    )
    scheduler_address: str | None = _setting(
        None, "running cluster to use, by the address of its scheduler, such as tcp://10.0.0.1:8786", kind="address"
    )
    use_disk_store: bool = _setting(
        True, "false keeps all intermediate data in memory: one process, no scratch folder", kind="switch"
    )
    batch_size: int = _setting(8, "tiles or groups that one merging task joins", kind="whole", low=2)
    temp_dir: str | None = _setting(None, "folder for intermediate data instead of the one of the store", kind="path")
    keep_intermediate: bool = _setting(False, "keep the intermediate data", kind="flag")
    on_error: str = _setting(
        "raise",
        "what a tile that fails does: raise ends the run, skip leaves a hole and exit code 1",
        kind="choice",
        choices=("raise", "skip"),
    )
    retries: int = _setting(1, "how often a failed task is tried again", kind="whole")
    task_time_limit: str | int = _setting(
        "auto",
        "seconds after which a task that has not ended is stopped, where workers are processes of ours; 0: never; "
        "auto: 10 minutes, or 20 times what is projected",
        kind="count",
    )
    overwrite: bool = _setting(False, "replace the store if it exists", kind="flag")
    restart: bool = _setting(False, "do everything again, whatever earlier runs left", kind="flag")
    verify_inputs: bool = _setting(
        False, "tell inputs apart by all their bytes, too, not by size, time and samples alone", kind="flag"
    )
    allow_tmpfs: bool = _setting(False, "accept a folder for intermediate data that is in memory", kind="flag")

    log: bool | str = _setting(False, "write a log of JSON lines to a file, by default beside the store", kind="log")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check_setting(item, getattr(self, item.name))


def _check_setting(item: dataclasses.Field[Any], value: Any) -> None:
    kind, choices, low = (item.metadata[name] for name in ("kind", "choices", "low"))
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind in ("flag", "switch") and not isinstance(value, bool):
        expected = "true or false"
    elif kind == "choice" and value not in choices:
        expected = f"one of {', '.join(choices)}"
    elif kind == "whole" and not (whole and value >= low):
        expected = f"a whole number from {low}"
    elif kind == "count" and not (value == "auto" or (whole and value >= low)):
        expected = f"auto or a whole number from {low}"
    elif kind == "size" and not (isinstance(value, str) or (whole and value > 0)):
        expected = "auto, or a size such as 2GB"
    elif kind == "address" and not (value is None or (isinstance(value, str) and value)):
        expected = "an address such as tcp://10.0.0.1:8786"
    elif kind == "log" and not (isinstance(value, bool) or (isinstance(value, str) and value)):
        expected = "true, false or a path"
    elif kind == "path" and not (value is None or isinstance(value, str)):
        expected = "a path"
    else:
        return
    raise OptionError(f"option {item.name}", repr(value), expected, item.metadata["help"])
