"""Configuration files: what is read, and how errors name file, line and key."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from citymesh_dask.config import KEYS, OPTION_KEYS, SETTING_KEYS, load_config, parse_overrides
from citymesh_dask.errors import ConfigError, OptionError
from citymesh_dask.options import CityOptions
from citymesh_dask.settings import RunSettings

JOB = "pipeline: city\nfootprints: a.gpkg\nout: city.zarr\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf8")
    return path


def test_flat_job(tmp_path: Path) -> None:
    text = (
        JOB + "points: [x.laz, sub/y.laz]\nlayer: houses\ntile_size: 250\nbounds: [0, 0, 1e3, 1000.5]\nn_workers: 2\n"
    )
    (job,) = load_config(_write(tmp_path, text))
    assert job.pipeline == "city"
    assert job.footprints == (str(tmp_path / "a.gpkg"),)
    assert job.points == (str(tmp_path / "x.laz"), str(tmp_path / "sub" / "y.laz"))
    assert job.out == str(tmp_path / "city.zarr")
    assert job.layer == "houses"
    assert job.options == CityOptions(tile_size=250, bounds=(0, 0, 1000, 1000.5))
    assert job.settings == RunSettings(n_workers=2)


def test_absolute_paths_stay(tmp_path: Path) -> None:
    (job,) = load_config(_write(tmp_path, "pipeline: city\nout: /elsewhere/city.zarr\nterrain: /data/t.tif\n"))
    assert (job.out, job.terrain) == ("/elsewhere/city.zarr", "/data/t.tif")


def test_patterns_are_sorted(tmp_path: Path) -> None:
    for name in ("b.laz", "a.laz", "c.txt"):
        (tmp_path / name).touch()
    (job,) = load_config(_write(tmp_path, JOB + "points: '*.laz'\n"))
    assert job.points == (str(tmp_path / "a.laz"), str(tmp_path / "b.laz"))


def test_relative_config_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.laz").touch()
    _write(tmp_path, JOB + "points: '*.laz'\n")
    monkeypatch.chdir(tmp_path)
    (job,) = load_config("job.yaml")
    assert job.points == ("a.laz",)
    assert job.out == "city.zarr"


def test_list_of_jobs(tmp_path: Path) -> None:
    text = "jobs:\n  - pipeline: city\n    out: one.zarr\n  - pipeline: city\n    out: two.zarr\n    lod: 0\n"
    one, two = load_config(_write(tmp_path, text))
    assert (Path(one.out).name, Path(two.out).name) == ("one.zarr", "two.zarr")
    assert (one.options.lod, two.options.lod) == (1, 0)
    assert one.name.endswith("job 1")


def test_hyphens_in_keys_are_underscores(tmp_path: Path) -> None:
    (job,) = load_config(_write(tmp_path, JOB + "tile-size: 300\n"))
    assert job.options.tile_size == 300


def test_null_means_default(tmp_path: Path) -> None:
    (job,) = load_config(_write(tmp_path, JOB + "tile_size: null\npoints: null\nterrain:\nlayer:\n"))
    assert (job.options.tile_size, job.points, job.terrain, job.layer) == (None, (), None, None)


def test_overrides_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = _write(tmp_path, JOB + "tile_size: 100\n")
    (job,) = load_config(path, ["tile-size=1e3", "out=here.zarr", "roof_classes=[6, 67]", "overwrite=true"])
    assert job.options.tile_size == 1000
    assert job.options.roof_classes == (6, 67)
    assert job.out == "here.zarr"
    assert job.settings.overwrite is True


@pytest.mark.parametrize(
    ("text", "line", "found", "advice"),
    [
        (JOB + "tile_sise: 100\n", 4, "unknown key 'tile_sise'", "did you mean 'tile_size'?"),
        (JOB + "\n\nsolid: sometimes\n", 6, "'sometimes'", ""),
        (JOB + "tile_size: big\n", 4, "'big'", ""),
        (JOB + "tile_size: -1\n", 4, "-1", ""),
        (JOB + "bounds: [1, 2, 3]\n", 4, "[1, 2, 3]", ""),
        (JOB + "n_workers: 0\n", 4, "0", ""),
        (JOB + "scheduler: thread\n", 4, "'thread'", ""),
        (JOB + "retries: true\n", 4, "True", ""),
        (JOB + "lod: 1\nout: again.zarr\n", 5, "key 'out' for the second time", "line 3"),
        (JOB + "points: 5\n", 4, "5", ""),
        (JOB + "points: 'none*.laz'\n", 4, "no file matches", ""),
        (JOB + "layer: 7\n", 4, "7", ""),
        (JOB + "terrain: [a.tif]\n", 4, "['a.tif']", ""),
        (JOB + "crs: !!python/name:os.system\n", 4, "the value cannot be read", ""),
        ("pipeline: town\nout: x\n", 1, "unknown pipeline 'town'", ""),
        ("pipeline: city\n", 1, "no key 'out'", "out: city.zarr"),
        ("\n# nothing\nout: x\n", 3, "no key 'pipeline'", "pipeline: city"),
        ("- a\n- b\n", 1, "not a mapping", ""),
        ("jobs:\n  pipeline: city\n", 2, "not a list", ""),
        ("jobs:\n  - city\n", 2, "not a mapping", ""),
        ("jobs: []\n", 1, "not a list", ""),
        ("jobs:\n  - pipeline: city\nlod: 1\n", 3, "beside 'jobs'", ""),
        ("jobs:\n  - pipeline: city\n    out: a\n    lodd: 1\n", 4, "unknown key 'lodd'", "'lod'"),
        ("pipeline: city\nout: [\n", 3, "no valid YAML", ""),
        ("pipeline: city\n\tout: x\n", 2, "no valid YAML", ""),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, line: int, found: str, advice: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"{path}, line {line}" in caught.value.where
    assert found in caught.value.found
    assert advice in caught.value.advice


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_empty_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"empty|not a mapping"):
        load_config(_write(tmp_path, text))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00out")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(binary)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("tile_size", "no equals sign"),
        ("tile_sise=3", "did you mean 'tile_size'"),
        ("tile_size=[1", "cannot be read"),
    ],
)
def test_overrides_that_cannot_be_read(pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_overrides([pair])
    assert caught.value.where.startswith(f"--set {pair}")


def test_override_of_a_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--set solid=7: key 'solid'"):
        load_config(_write(tmp_path, JOB), ["solid=7"])


def test_settings_are_checked() -> None:
    with pytest.raises(OptionError, match="batch_size"):
        RunSettings(batch_size=1)
    with pytest.raises(OptionError, match="memory_limit"):
        RunSettings(memory_limit=-1)


def test_keys_and_defaults_are_those_of_the_python_interface() -> None:
    from citymesh_dask.api import build_city_mesh

    parameters = inspect.signature(build_city_mesh).parameters
    not_in_files = {"options", "client", "progress", "geometry"}
    assert set(KEYS) - {"pipeline"} == (set(parameters) - not_in_files) | set(OPTION_KEYS)
    for item in dataclasses.fields(RunSettings):
        assert parameters[item.name].default == item.default, item.name
    assert not set(OPTION_KEYS) & set(SETTING_KEYS)
