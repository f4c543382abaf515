"""Missing, empty, cut and misnamed vector files are named before GDAL sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from citymesh_dask.errors import InputError, InputMissingError
from citymesh_dask.formats.vector_integrity import check_whole
from tests.vector_samples import squares, write_vectors


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write_vectors(tmp_path / "buildings.gpkg", squares(1))
    with pytest.raises(InputMissingError, match=r"building\.gpkg: no such file.*buildings\.gpkg"):
        check_whole(str(tmp_path / "building.gpkg"))
    with pytest.raises(FileNotFoundError, match="does not exist either"):
        check_whole(str(tmp_path / "nowhere" / "building.gpkg"))


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".fgb"])
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    path.touch()
    with pytest.raises(InputError, match=r"empty.*0 bytes"):
        check_whole(str(path))


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb", ".sqlite"])
def test_text_with_another_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_text("id,height\n1,2\n" * 10)
    with pytest.raises(InputError, match="begins with b'id"):
        check_whole(str(path))


@pytest.mark.parametrize("part", [".shp", ".shx", ".dbf"])
def test_cut_shapefile_names_the_part(tmp_path: Path, part: str) -> None:
    path = write_vectors(tmp_path / "cut.shp", squares(50))
    check_whole(str(path))
    cut = path.with_suffix(part)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\{part}: the file has \d+ bytes.*cut off"):
        check_whole(str(path))


def test_shapefile_without_index(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "lonely.shp", squares(2))
    path.with_suffix(".shx").unlink()
    with pytest.raises(InputError, match=r"lonely\.shx is missing"):
        check_whole(str(path))


def test_shapefile_with_upper_case_companions(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "loud.shp", squares(2))
    for suffix in (".shx", ".dbf"):
        path.with_suffix(suffix).rename(path.with_suffix(suffix.upper()))
    check_whole(str(path))


def test_cut_geopackage(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "cut.gpkg", squares(50))
    check_whole(str(path))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(InputError, match="cut off"):
        check_whole(str(path))
