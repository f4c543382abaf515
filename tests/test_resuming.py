"""The same command again: what is gone on with, what is refused, what is begun anew, and what is left behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.arguments import build_parser
from citymesh_dask.config import KEYS
from citymesh_dask.errors import OutputError, RunError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city import resume
from citymesh_dask.pipelines.city.ending import finish
from citymesh_dask.pipelines.city.tiles import meshes
from tests.hostile import is_root, refused, results, stopped, write_town

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("citymesh_dask.starting.write_report", lambda *_: None)
    return tmp_path


def build(town: Path, *more: str, out: str = "out.zarr") -> list[str]:
    inputs = ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", out]
    small = ["--scheduler", "synchronous", "--tile-size", "15", "--max-mesh-size", "4", "--quiet"]
    return ["build", *inputs, *small, *more]


def run(arguments: list[str], capsys: Captured) -> dict[str, int]:
    """Run to the end; return how many tasks each stage did, those that it only found again left out."""
    assert cli.main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert check_store(answer["store"]).ok
    stages = answer["report"]["stages"]
    return {stage["name"]: stage["tasks"] - stage["reused"] for stage in stages if stage["tasks"] > stage["reused"]}


BEFORE_TILES = {"read_footprints", "sample_points", "fill_terrain", "clean_outlines", "building_levels"}


def test_the_same_command_goes_on(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(build(town), capsys, monkeypatch)
    assert not BEFORE_TILES & run(build(town, "--batch-size", "3"), capsys).keys()
    assert sorted(results(Path())) == ["out.report.html", "out.zarr"] or results(Path()) == ["out.zarr"]


def test_the_printed_command_goes_on_in_the_same_place(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says all that was typed: where the intermediate data are, and whatever else."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    place = here / "else where"
    place.mkdir()
    more = ["--temp-dir", str(place), "--allow-tmpfs", "--memory-limit", "2GB", "--retries", "0", "--log", "a log"]
    with monkeypatch.context() as patched:
        patched.setattr(meshes, "extrude_tile", fail)
        assert cli.main(build(town, *more)) == 1
        said = capsys.readouterr().err.strip()
        assert cli.main(["run", *_config(here, build(town, *more), capsys)]) == 1
        assert capsys.readouterr().err.strip().endswith(": citymesh run a.yaml --set restart=false --quiet")
    words = shlex.split(said[said.index(": citymesh build") + 2 :])
    assert words == ["citymesh", *build(town, *more)]
    assert not BEFORE_TILES & run(words[1:], capsys).keys()
    assert not list(place.iterdir())


def _config(here: Path, arguments: list[str], capsys: Captured) -> list[str]:
    """Write a configuration for what the arguments of ``build`` say, and return those of ``run``."""
    given = vars(build_parser()[0].parse_args(arguments))
    known = {key: given[key] for key in KEYS if given.get(key)}
    lists = {key: list(value) for key, value in known.items() if isinstance(value, (list, tuple))}
    (here / "a.yaml").write_text(json.dumps({"pipeline": "city", **known, **lists}))
    return ["a.yaml", "--set", "restart=false", "--quiet"]


def test_a_run_from_python_says_to_make_the_call_again(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    monkeypatch.setattr(meshes, "extrude_tile", fail)
    files = {"points": town / "town.laz", "scheduler": "synchronous", "progress": False}
    with pytest.raises(RunError, match=r"make the same call again to go on from the finished tasks$"):
        cm.build_city_mesh(town / "town.gpkg", "out.zarr", **files).result(60)


@pytest.mark.skipif(not is_root(), reason="only root may give files away")
@pytest.mark.parametrize("words", [(), ("--restart",)])
def test_a_scratch_folder_of_another_user(words: tuple[str, ...], town: Path, here: Path, capsys: Captured) -> None:
    """In a place such as that for temporary files everybody can make a folder of the name that a run will take."""
    run(build(town, "--keep-intermediate"), capsys)
    shutil.rmtree("out.zarr")
    scratch = here / "out.zarr.scratch"
    os.chown(scratch, 12345, -1)
    facts = (str(scratch), "it belongs to another user (number 12345)", "remove it, or choose another place")
    refused(capsys, build(town, *words), *facts)
    refused(capsys, ["plan", *build(town, *words)[1:]], *facts)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_scratch_folder_that_others_may_change(town: Path, here: Path, capsys: Captured) -> None:
    run(build(town, "--keep-intermediate"), capsys)
    shutil.rmtree("out.zarr")
    Path("out.zarr.scratch").chmod(0o777)
    refused(capsys, build(town), "other users may write there", "pass --restart to begin anew", "chmod 700")
    assert run(build(town, "--restart"), capsys).keys() >= BEFORE_TILES


def test_nothing_is_unpickled_that_lies_around(town: Path, here: Path, capsys: Captured) -> None:
    """A store or a scratch folder may have come from anywhere; to read it runs nobody's code."""
    run(build(town), capsys)
    trap = b'cbuiltins\nexec\n(S\'open("trapped", "w")\'\ntR.'
    kept = Path("out.zarr/reuse/files")
    for name in ("job.json", "job.pickle"):
        (kept / name).write_bytes(trap)
    assert cli.main(["plan", *build(town, "--overwrite", "--min-building-height", "3")[1:]]) == 0
    capsys.readouterr()
    assert run(build(town, "--overwrite", "--min-building-height", "3"), capsys).keys() >= BEFORE_TILES
    assert not Path("trapped").exists()


def test_other_options_go_on_from_what_does_not_depend_on_them(
    town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(build(town), capsys, monkeypatch)
    assert BEFORE_TILES & run(build(town, "--min-building-height", "3"), capsys).keys() == {"building_levels"}


def test_restart_does_everything_again(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(build(town), capsys, monkeypatch)
    assert run(build(town, "--restart"), capsys).keys() >= BEFORE_TILES
    refused(capsys, build(town, "--restart"), "it is complete, from the same inputs", "--overwrite as well")
    assert run(build(town, "--restart", "--overwrite"), capsys).keys() >= BEFORE_TILES


def test_another_version_of_the_software(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = stopped(build(town), capsys, monkeypatch) / "citymesh-scratch.json"
    facts = json.loads(mark.read_text())
    facts["software"] |= {"numba": "0.1", "pythoncdt": "1.0"}
    del facts["software"]["shapely"]
    mark.write_text(json.dumps(facts))
    changed = ("numba 0.1, now ", "pythoncdt 1.0, now ", "shapely absent, now ")
    found = refused(capsys, build(town), "begun with other versions", *changed, "pass --restart to begin anew")
    assert "numpy" not in found
    assert run(build(town, "--restart"), capsys).keys() >= BEFORE_TILES


def test_a_store_of_another_version_is_replaced_as_a_whole(town: Path, capsys: Captured) -> None:
    run(build(town), capsys)
    mark = Path("out.zarr/reuse/files/citymesh-scratch.json")
    facts = json.loads(mark.read_text())
    mark.write_text(json.dumps({**facts, "software": {**facts["software"], "numba": "0.1"}}))
    assert run(build(town, "--overwrite", "--min-building-height", "3"), capsys).keys() >= BEFORE_TILES


# ---- times ---------------------------------------------------------------------------------------


def test_times_in_the_future(town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumped back: inputs and receipts are from tomorrow."""
    inputs = write_town(here / "inputs")
    tomorrow = 86_400 + max(path.stat().st_mtime for path in inputs.iterdir())
    for path in inputs.iterdir():
        os.utime(path, (tomorrow, tomorrow))
    scratch = stopped(build(inputs), capsys, monkeypatch)
    for path in [*scratch.rglob("*.json"), *scratch.rglob("*.arrays")]:
        os.utime(path, (2 * tomorrow, 2 * tomorrow))
    assert not BEFORE_TILES & run(build(inputs), capsys).keys()


def test_an_input_changed_while_the_clock_went_back(
    here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer content, older time: what counts is that it is another one."""
    inputs = write_town(here / "inputs")
    stopped(build(inputs), capsys, monkeypatch)
    cloud = inputs / "town.laz"
    before = cloud.stat().st_mtime
    from tests.hostile import write_cloud

    write_cloud(cloud, step=0.8)
    os.utime(cloud, (before - 86_400, before - 86_400))
    assert {"sample_points", "mesh_tile"} <= run(build(inputs), capsys).keys()


# ---- what is left behind -------------------------------------------------------------------------


def test_a_crash_between_the_result_and_the_cleaning_up(
    town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("citymesh_dask.starting.run_facts", crash)
        assert cli.main(build(town)) != 0
    scratch = Path("out.zarr.scratch")
    assert scratch.exists() and check_store("out.zarr").ok
    Path(".out.zarr.old").mkdir()
    capsys.readouterr()
    assert cli.main(build(town)) == 0
    assert not scratch.exists() and not Path(".out.zarr.old").exists()


def test_a_crash_while_the_store_is_replaced(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment the old store has another name, and there is none of the right one."""
    run(build(town), capsys)

    def crash(partial: Path, out: Path) -> None:
        out.rename(resume.old_name(out))
        raise ZeroDivisionError("a crash for the test")

    changed = build(town, "--overwrite", "--min-building-height", "3")
    with monkeypatch.context() as patched:
        patched.setattr(finish, "publish", crash)
        assert cli.main(changed) == 1
    assert not Path("out.zarr").exists()
    capsys.readouterr()
    assert run(changed, capsys) == {}
    assert not [path for path in Path().iterdir() if any(word in path.name for word in ("old", "scratch", "partial"))]


def test_files_half_written_are_swept(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = stopped(build(town), capsys, monkeypatch)
    (scratch / "tiles").mkdir(exist_ok=True)
    left = [scratch / "tiles" / "00001.arrays.99.partial", Path(".out.zarr.partial/faces.77.partial")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    scratch.chmod(0o755)
    run(build(town, "--keep-intermediate"), capsys)
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
    assert not list(scratch.rglob("*.partial")) and not list(Path("out.zarr").rglob("*.partial"))


def test_kept_intermediate_data_serve_the_next_run(town: Path, capsys: Captured) -> None:
    run(build(town, "--keep-intermediate"), capsys)
    assert Path("out.zarr.scratch/tiles").is_dir()
    changed = build(town, "--overwrite", "--min-building-height", "3")
    assert BEFORE_TILES & run(changed, capsys).keys() == {"building_levels"}
    assert not Path("out.zarr.scratch").exists()


def test_chunks_of_an_unfinished_store_are_looked_at(
    town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of the machine may leave a receipt whose chunk never came to the disk."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    for part in ("markers/c/0", "vertices/c/0/0", "buildings/area/c/0", "faces/zarr.json"):
        with monkeypatch.context() as patched:
            patched.setattr("citymesh_dask.starting.seal_store", fail)
            assert cli.main(build(town, "--overwrite")) == 1
        chunk = Path(".out.zarr.partial") / part
        data = bytearray(chunk.read_bytes())
        data[len(data) // 3] ^= 1
        chunk.write_bytes(data)
        capsys.readouterr()
        again = run(build(town), capsys)
        assert 0 < sum(again.values()) <= 6, (part, again)
        assert again.keys() <= {"assemble", "write_table", "number_vertices", "write_table_head"}
        Path("out.zarr").rename(f"done-{part.replace('/', '-')}")


@pytest.mark.parametrize("part", ["vertices/c/0/0", "faces/c/0/0", "markers/c/0", "building/c/0"])
def test_the_check_finds_a_damaged_chunk(part: str, town: Path, capsys: Captured) -> None:
    run(build(town), capsys)
    chunk = Path("out.zarr") / part
    whole = chunk.read_bytes()
    for place in (5, len(whole) // 2, len(whole) - 1):
        chunk.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert cli.main(["check", "out.zarr"]) != 0
        assert part in capsys.readouterr().err
    chunk.unlink()
    assert cli.main(["check", "out.zarr"]) != 0


# ---- two at once ---------------------------------------------------------------------------------


def test_two_commands_at_the_same_moment(town: Path, here: Path) -> None:
    line = [sys.executable, "-m", "citymesh_dask", *build(town)]
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=here) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    if codes == [0, 0]:  # the second began when the first had ended
        pytest.skip("they did not meet")
    assert codes == [0, 2], said
    assert any("another run works on it" in text for text in said)
    assert check_store("out.zarr").ok


# ---- where the scratch folder is -----------------------------------------------------------------


def test_a_folder_for_scratch_data_that_does_not_exist(town: Path, capsys: Captured) -> None:
    refused(capsys, build(town, "--temp-dir", "nowhere"), "temp_dir", "no such folder", "make it first")
    Path("file").write_text("x")
    refused(capsys, build(town, "--temp-dir", "file"), "temp_dir", "it is no folder")


def test_memory_is_no_place_for_scratch_data(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or resume.file_system(shared) != "tmpfs":
        pytest.skip("no file system in memory here")
    arguments = build(town, "--temp-dir", str(shared))
    refused(capsys, arguments, "the scratch folder would be in memory (a tmpfs)", "--allow-tmpfs")
    run([*arguments, "--allow-tmpfs"], capsys)
    assert not list(shared.glob("out.zarr*"))
    with pytest.raises(OutputError, match="in memory"):
        cm.build_city_mesh(f"{town}/town.gpkg", shared / "x.zarr", points=f"{town}/town.laz")


def test_a_store_and_its_scratch_on_different_disks(town: Path, capsys: Captured) -> None:
    """No hard links there: what is kept is copied."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("no second file system here")
    there = ["--temp-dir", str(shared), "--allow-tmpfs"]
    run(build(town, *there), capsys)
    changed = build(town, *there, "--overwrite", "--min-building-height", "3")
    assert BEFORE_TILES & run(changed, capsys).keys() == {"building_levels"}


def test_names_of_file_systems(tmp_path: Path) -> None:
    assert resume.file_system(tmp_path / "a" / "b") == resume.file_system(tmp_path) != ""
    assert resume.file_system(Path("/proc/self")) == "proc"


def test_of_several_mounts_the_innermost_counts_and_of_equal_ones_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path.resolve()
    places = {"zfs": there / "in", "tmpfs": there / "in", "ext4": Path("/"), "nfs": there, "xfs": there / "i"}
    mounts = [SimpleNamespace(mountpoint=str(place), fstype=kind) for kind, place in places.items()]
    monkeypatch.setattr(resume.psutil, "disk_partitions", lambda all: mounts)
    (there / "in").mkdir()
    found = {name: resume.file_system(there / name) for name in ("in", "in/new", "i", "out", "..")}
    assert found == {"in": "tmpfs", "in/new": "tmpfs", "i": "nfs", "out": "nfs", "..": "ext4"}
    monkeypatch.setattr(resume.psutil, "disk_partitions", lambda all: [])
    assert resume.file_system(there) == ""
