"""What holds for the package as a whole: layers, homes of heavy libraries, sizes, the face, the documents."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import citymesh_dask
from citymesh_dask.arguments import build_parser
from citymesh_dask.config import KEYS, load_config

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "citymesh_dask"
MODULES = sorted(PACKAGE.rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf8")
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

HOMES = {
    "dask": ("engine", "api.py", "city_mesh.py"),
    "distributed": ("engine", "api.py", "starting.py"),
    "zarr": ("store",),
    "numcodecs": ("store",),
    "laspy": ("formats", "sample_city"),
    "pyogrio": ("formats", "sample_city"),
    "rasterio": ("formats", "sample_city"),
    "pythoncdt": ("geometry",),
    "jinja2": ("report.py",),
    "yaml": ("config.py",),
}
"""Where each heavy library may be imported; everything else asks these."""

LIGHT_COMMANDS = {"--help", "--version", "build --help", "run --help", "demo --help"}
HEAVY = ("dask", "distributed", "zarr", "numba", "numpy", "shapely", "laspy", "pyogrio", "rasterio", "pythoncdt")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf8"))


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Yield the absolute dotted name of everything that a module imports, inside functions too."""
    package = _dotted(path) if path.name == "__init__.py" else _dotted(path).rpartition(".")[0]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            start = ".".join(filter(None, [base if node.level else "", node.module]))
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)


def _layers() -> list[list[str]]:
    """Return the layers of the contract in pyproject.toml, highest first; those in one may know one another."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["importlinter"]
    contract = next(c for c in settings["contracts"] if c["type"] == "layers")
    return [[name.strip() for name in layer.split(":")] for layer in contract["layers"]]


def _layer_of(module: str, layers: list[list[str]]) -> int | None:
    for number, names in enumerate(layers):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    return None


def test_imports_point_one_way() -> None:
    layers = _layers()
    wrong = []
    for path in MODULES:
        here = _layer_of(_dotted(path), layers)
        for imported in _imports(path):
            there = _layer_of(imported, layers)
            if here is not None and there is not None and there < here:
                wrong.append(f"{_name(path)} imports {imported}")
    assert not wrong


def test_every_module_has_a_layer() -> None:
    layers = _layers()
    homeless = [_name(path) for path in MODULES if _layer_of(_dotted(path), layers) is None]
    assert homeless == ["citymesh_dask/__init__.py"], "the face alone stands above all layers"


@pytest.mark.parametrize("library", HOMES)
def test_one_home_for_each_heavy_library(library: str) -> None:
    strangers = [
        _name(path)
        for path in MODULES
        if any(name.split(".")[0] == library for name in _imports(path))
        and path.relative_to(PACKAGE).parts[0] not in HOMES[library]
    ]
    assert not strangers


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_sizes_and_docstrings(path: Path) -> None:
    tree = _tree(path)
    text = path.read_text(encoding="utf8")
    assert text.count("\n") <= 400
    if text.strip():
        assert ast.get_docstring(tree), "a module says what belongs in it"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not _is_kernel(node):
            lines = _body_lines(node)
            assert lines <= 40, f"{node.name} has {lines} lines"
    for function in _public_functions(tree.body):
        positional = [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in ("self", "cls")]
        # Tasks are called by the engine, by position, the number of the task among their arguments.
        task = "index" in positional or function.name.endswith("_task")
        assert task or len(positional) <= 3, f"{function.name} takes {len(positional)} positional parameters"
        assert ast.get_docstring(function), f"{function.name} has no docstring"


def _is_kernel(node: ast.FunctionDef) -> bool:
    """Whether a function is compiled by numba: such may be long, and their arrays come one by one."""
    return any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)


def _public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """Yield public functions and methods, those of public classes only; classes have their docstring."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not _is_kernel(node):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
            yield from _public_functions(node.body)


def _body_lines(node: ast.FunctionDef) -> int:
    body = [statement for statement in node.body if not _is_docstring(statement)]
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_nothing_but_the_command_line_prints_or_exits() -> None:
    calls = re.compile(r"(?<![\w.])(print|exit|sys\.exit)\(")
    code = {path: re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text(encoding="utf8")) for path in MODULES}
    allowed = {PACKAGE / "cli.py", PACKAGE / "__main__.py"}
    assert [_name(path) for path in MODULES if path not in allowed and calls.search(code[path])] == []


def test_no_assert_for_user_input() -> None:
    asserts = [_name(p) for p in MODULES if any(isinstance(node, ast.Assert) for node in ast.walk(_tree(p)))]
    assert asserts == []


def test_face_is_sorted_and_complete() -> None:
    assert citymesh_dask.__all__ == sorted(citymesh_dask.__all__)
    for name in citymesh_dask.__all__:
        assert getattr(citymesh_dask, name).__doc__, name
    with pytest.raises(AttributeError):
        citymesh_dask.no_such_name  # noqa: B018
    for path in MODULES:
        if "__all__" in path.read_text(encoding="utf8"):
            module = importlib.import_module(_dotted(path))
            assert all(hasattr(module, name) for name in module.__all__), _name(path)


def test_every_command_has_help() -> None:
    parser, commands = build_parser()
    assert set(commands) == {"build", "plan", "run", "check", "info", "export", "demo"}
    for command in (parser, *commands.values()):
        assert command.description
        for action in command._actions:
            assert action.help, f"{command.prog} {action.dest}"
        command.format_help()


@pytest.mark.parametrize("command", sorted(LIGHT_COMMANDS))
def test_help_loads_nothing_heavy(command: str) -> None:
    code = f"""
import sys
from citymesh_dask.cli import main
try:
    main({command.split()!r})
except SystemExit as end:
    assert not end.code
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


# ---- documents -----------------------------------------------------------------------------------


def _snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_readme_python_compiles_and_uses_known_names() -> None:
    snippets = _snippets("python")
    assert snippets
    for snippet in snippets:
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cm":
                assert node.attr in citymesh_dask.__all__, node.attr


def test_readme_commands_parse() -> None:
    parser, commands = build_parser()
    seen = set()
    for snippet in _snippets("sh"):
        for line in snippet.replace("\\\n", " ").splitlines():
            for part in line.partition("#")[0].split("&&"):
                words = shlex.split(part)
                if words[:1] == ["citymesh"]:
                    if not {"--help", "--version"} & set(words):
                        parser.parse_args(words[1:])
                    seen.add(words[1])
    assert seen >= set(commands)


def test_readme_yaml_is_valid(tmp_path: Path) -> None:
    snippets = _snippets("yaml")
    assert snippets
    for snippet in snippets:
        path = tmp_path / "readme.yaml"
        path.write_text(re.sub(r"points: .*\*.*", "points: a.laz", snippet), encoding="utf8")
        assert load_config(path)


def test_readme_names_existing_files() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_lists_every_option() -> None:
    missing = [key for key in KEYS if f"`{key}`" not in README and f"--{key.replace('_', '-')}" not in README]
    # The complete list is 'citymesh build --help'; the README names what most people turn.
    assert {"tile_size", "memory_limit", "crs", "solid", "max_mesh_size"}.isdisjoint(missing)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_load(path: Path, tmp_path: Path) -> None:
    (tmp_path / "citymesh-demo" / "points").mkdir(parents=True)
    (tmp_path / "citymesh-demo" / "points" / "a.laz").touch()
    (tmp_path / "configs").mkdir()
    copy = tmp_path / "configs" / path.name
    text = path.read_text(encoding="utf8")
    copy.write_text(text, encoding="utf8")
    jobs = load_config(copy)
    assert jobs
    assert text.startswith("# "), "a configuration says first what it is for"
    for job in jobs:
        inputs = (*job.footprints, *job.points, *filter(None, [job.terrain]), job.out)
        assert all("/configs/../citymesh-demo/" in name for name in inputs)


def test_nothing_names_the_machine_it_was_written_on() -> None:
    places = re.compile(r"[\"'( ]/(work|home|root|tmp)/")
    found = [
        _name(path)
        for pattern in (
            "*.md",
            "*.toml",
            "*.cff",
            "citymesh_dask/**/*.py",
            "tests/**/*.py",
            "configs/*",
            "notebooks/*.ipynb",
            "docs/*.md",
        )
        for path in ROOT.glob(pattern)
        if path != Path(__file__) and places.search(path.read_text(encoding="utf8"))
    ]
    assert found == []
