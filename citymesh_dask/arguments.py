"""Arguments of the command ``citymesh``: its parsers, made from the option dataclasses.

What the commands do is in `cli`. A flag's name, type, unit, default and help text are written once,
in the dataclass that it belongs to.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable
from typing import Any, NoReturn

from .options import CityOptions
from .settings import RunSettings

_EPILOG = (
    "exit codes: 0 success, 1 the run failed or a check does not hold, 2 bad usage, bad input or a plan "
    "that cannot fit, 130 and 143 interrupted and terminated"
)

_NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
"""What is a value and no flag; argparse by itself does not know exponents, as in ``--bounds -1e5 0 0 1e5``."""


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest valid flag."""

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2 and one line that says why."""
        self.exit(2, f"citymesh: error: {message}; see '{self.prog} --help'\n")

    def flags(self) -> list[str]:
        """Return all flags of this parser."""
        return [flag for action in self._actions for flag in action.option_strings]


def build_parser() -> tuple[CommandParser, dict[str, CommandParser]]:
    """Return the parser of ``citymesh`` and those of its commands by name."""
    parser = CommandParser(
        prog="citymesh",
        description="One watertight city mesh from footprints and LiDAR, larger than memory.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", help="what to do")
    makers = {
        "build": (_add_build, "build the mesh of a city"),
        "plan": (_add_plan, "tell what a build would take; writes nothing"),
        "run": (_add_run, "run the jobs of configuration files"),
        "check": (_add_check, "check a finished mesh from its faces alone"),
        "info": (_add_info, "tell what a store holds"),
        "export": (_add_export, "write a mesh as VTU, PLY, OBJ, STL or a picture"),
        "demo": (_add_demo, "write a sample city, build it and show what comes out"),
    }
    made = {}
    for name, (add_arguments, text) in makers.items():
        made[name] = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        add_arguments(made[name])
        made[name]._negative_number_matcher = _NEGATIVE_NUMBER
    return parser, made


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from . import __version__

        parser.exit(0, f"citymesh_dask {__version__}\n")


def _add_output_flags(parser: CommandParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--quiet", action="store_true", help="say nothing but what goes wrong")
    group.add_argument("--json", action="store_true", help="write the result as JSON to standard output")


def _add_plan(parser: CommandParser) -> None:
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="YAML files, in place of the arguments of build")
    _add_overrides(parser)
    _add_build(parser, out_required=False)


def _add_build(parser: CommandParser, *, out_required: bool = True) -> None:
    inputs = parser.add_argument_group("inputs and output")
    inputs.add_argument(
        "--footprints", nargs="+", metavar="FILE", default=(), help="building footprints, any format of GDAL"
    )
    inputs.add_argument("--layer", metavar="NAME", help="layer of the footprint files")
    inputs.add_argument("--points", nargs="+", metavar="FILE", default=(), help="LAS or LAZ files")
    inputs.add_argument("--terrain", metavar="RASTER", help="heights of the ground")
    inputs.add_argument("--surface", metavar="RASTER", help="heights of ground and roofs")
    inputs.add_argument("--building-heights", metavar="RASTER", help="heights of buildings above ground")
    inputs.add_argument("--out", metavar="STORE", required=out_required, help="folder of the store to write")
    mesh = parser.add_argument_group("mesh")
    for item in dataclasses.fields(CityOptions):
        _add_option(mesh, item)
    run = parser.add_argument_group("run")
    for item in dataclasses.fields(RunSettings):
        _add_setting(run, item)
    _add_output_flags(parser)


def _add_option(group: argparse._ArgumentGroup, item: dataclasses.Field[Any]) -> None:
    """Add the flag of a field of `CityOptions`, all of it from the field."""
    kind, flag = str(item.type), f"--{item.name.replace('_', '-')}"
    text = _help(item.metadata["help"], item.metadata["unit"], item.default)
    if kind == "bool":
        action = argparse.BooleanOptionalAction
        group.add_argument(flag, action=action, default=argparse.SUPPRESS, help=text)
        return
    number: Callable[[str], object] = int if "int" in kind else float if "float" in kind else str
    metavar: str | tuple[str, ...] = "TEXT" if number is str else "N"
    nargs: str | int | None = None
    if item.name == "bounds":
        nargs, metavar = 4, ("XMIN", "YMIN", "XMAX", "YMAX")
    elif kind.startswith("tuple"):
        nargs = "+"
    group.add_argument(flag, type=number, nargs=nargs, metavar=metavar, default=argparse.SUPPRESS, help=text)


def _add_setting(group: argparse._ArgumentGroup, item: dataclasses.Field[Any]) -> None:
    """Add the flag of a field of `RunSettings`."""
    name = "workers" if item.name == "n_workers" else item.name.replace("_", "-")
    flag, kind = f"--{name}", item.metadata["kind"]
    text = _help(item.metadata["help"], "", item.default)
    suppress = argparse.SUPPRESS
    if kind == "flag":
        group.add_argument(flag, dest=item.name, action="store_true", default=suppress, help=text)
    elif kind == "switch":
        action = argparse.BooleanOptionalAction
        group.add_argument(flag, dest=item.name, action=action, default=suppress, help=text)
    elif kind == "log":
        group.add_argument(flag, dest=item.name, nargs="?", const=True, metavar="FILE", default=suppress, help=text)
    elif kind == "choice":
        group.add_argument(flag, dest=item.name, choices=item.metadata["choices"], default=suppress, help=text)
    else:
        numbers: dict[str, Callable[[str], object]] = {"whole": int, "count": _count}
        metavar = {"whole": "N", "count": "N", "size": "SIZE", "address": "ADDRESS"}.get(kind, "DIR")
        group.add_argument(
            flag, dest=item.name, type=numbers.get(kind, str), metavar=metavar, default=suppress, help=text
        )


def _count(text: str) -> int | str:
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'auto' nor a whole number") from None


def _help(text: str, unit: str, default: object) -> str:
    if default is None or default is False:
        note = unit
    else:
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else f"{default}".lower()
        note = f"default: {shown} {unit}".rstrip()
    return (f"{text} [{note}]" if note else text).replace("%", "%%")


def _add_run(parser: CommandParser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="YAML files")
    _add_overrides(parser)
    _add_output_flags(parser)


def _add_overrides(parser: CommandParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a key in every job; paths relative to the current folder",
    )


def _add_check(parser: CommandParser) -> None:
    parser.add_argument("store", metavar="STORE", help="folder of a finished store")
    run = parser.add_argument_group("run")
    for item in dataclasses.fields(RunSettings):
        if item.name in ("memory_limit", "n_workers"):
            _add_setting(run, item)
    _add_output_flags(parser)


def _add_info(parser: CommandParser) -> None:
    parser.add_argument("store", metavar="STORE", help="folder of a finished store")
    parser.add_argument("--json", action="store_true", help="write the result as JSON to standard output")


def _add_export(parser: CommandParser) -> None:
    parser.add_argument("store", metavar="STORE", help="folder of a finished store")
    parser.add_argument("out", metavar="OUT", help="file to write; .vtu, .ply, .obj, .stl or .png")
    parser.add_argument(
        "--colour", choices=("marker", "building", "height"), default="marker", help="colours of a picture"
    )
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="pixels of a picture")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    _add_output_flags(parser)


def _add_demo(parser: CommandParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default="citymesh-demo", metavar="DIR", help="where [default: %(default)s]"
    )
    parser.add_argument(
        "--size", type=float, default=1000.0, metavar="METRES", help="edge of the city [default: %(default)g]"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="another seed, another city [default: %(default)s]"
    )
    parser.add_argument(
        "--density", type=float, default=2.5, metavar="N", help="laser returns per m2 [default: %(default)g]"
    )
    parser.add_argument("--generate-only", action="store_true", help="write the survey files, build nothing")
    _add_output_flags(parser)
