"""Names of input files, and the files that are read along with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from citymesh_dask.formats.input_names import absolute_name, files_beside


@pytest.mark.parametrize(
    ("name", "beside", "others"),
    [
        ("a.shp", ("a.DBF", "a.prj", "a.shx"), ("a.tfw", "b.dbf")),
        ("a.tif", ("a.tfw", "a.tif.aux.xml"), ("a.dbf",)),
        ("a.gpkg", ("a.gpkg-wal",), ("a.prj",)),
        ("a.laz", (), ("a.prj",)),
    ],
)
def test_what_is_read_along(name: str, beside: tuple[str, ...], others: tuple[str, ...], tmp_path: Path) -> None:
    for each in (name, *beside, *others):
        (tmp_path / each).write_text("x")
    assert [path.name for path in files_beside(str(tmp_path / name))] == sorted(beside)


def test_a_folder_is_all_that_is_in_it_and_empty_logs_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.gdb" / "deep").mkdir(parents=True)
    for name in ("deep/b", "a"):
        (tmp_path / "a.gdb" / name).touch()
    assert [path.name for path in files_beside(str(tmp_path / "a.gdb"))] == ["a", "b"]
    (tmp_path / "a.gpkg-wal").touch()
    assert files_beside(str(tmp_path / "a.gpkg")) == ()


def test_addresses_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_name("/vsizip/a.zip/a.shp") == "/vsizip/a.zip/a.shp"
    assert absolute_name("tiles/*.laz") == str(tmp_path / "tiles" / "*.laz")
