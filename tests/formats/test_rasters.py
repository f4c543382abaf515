"""Rasters: headers, windows with rows going north, values without data, and files that are not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from citymesh_dask.errors import InputError, InputMissingError
from citymesh_dask.formats.rasters import read_window, survey_raster
from tests.conftest import city_data
from tests.ground_samples import write_raster


def test_rows_go_north_and_cells_need_not_be_square(tmp_path: Path):
    values = np.arange(20 * 10, dtype=np.int16).reshape(20, 10)
    source = survey_raster(write_raster(tmp_path / "a.tif", values))
    assert source.bounds == (1000, 5000, 1020, 5060)
    assert (source.shape, source.dx, source.dy, source.top_down) == ((20, 10), 2.0, 3.0, True)
    assert "28992" in str(source.crs)
    heights, valid = read_window(source, (0, 20), (0, 10))
    assert valid.all() and np.array_equal(heights, values[::-1])
    part, valid = read_window(source, (3, 7), (2, 5))
    assert valid.all() and np.array_equal(part, values[::-1][3:7, 2:5])


def test_rasters_that_begin_in_the_south_are_not_turned(tmp_path: Path):
    values = np.arange(20 * 10, dtype=np.float64).reshape(20, 10)
    source = survey_raster(write_raster(tmp_path / "a.tif", values, Affine(2.0, 0, 1000, 0, 3.0, 5000)))
    assert source.bounds == (1000, 5000, 1020, 5060) and not source.top_down
    assert np.array_equal(read_window(source, (0, 20), (0, 10))[0], values)


def test_windows_reach_beyond_the_raster(tmp_path: Path):
    source = survey_raster(write_raster(tmp_path / "a.tif", np.ones((4, 3), np.uint8)))
    heights, valid = read_window(source, (-2, 5), (-1, 6))
    assert heights.shape == (7, 7) and heights.sum() == valid.sum() == 12 and valid[2:6, 1:4].all()
    assert not read_window(source, (10, 12), (0, 3))[1].any()


@pytest.mark.parametrize(
    ("dtype", "nodata", "holes"),
    [
        ("int16", -32768, [-32768]),
        ("float32", np.nan, [np.nan]),
        ("float32", -3.4028234663852886e38, [-3.4028234663852886e38, np.nan, np.inf]),
        ("float64", None, [np.nan, -9999.0, -np.inf, -3.4e38, 1e300]),
        ("uint8", 255, [255]),
        ("int32", None, [-9999, -2147483648]),
    ],
)
def test_values_without_data_are_not_valid(tmp_path: Path, dtype: str, nodata: float | None, holes: list[float]):
    values = np.full((5, 5), 7, dtype)
    values[0, : len(holes)] = holes
    source = survey_raster(write_raster(tmp_path / "a.tif", values, nodata=nodata))
    heights, valid = read_window(source, (0, 5), (0, 5))
    assert (~valid).sum() == len(holes) and not valid[4, : len(holes)].any()
    assert np.array_equal(heights, np.where(valid, 7.0, 0.0))


def test_scale_offset_and_mask_of_the_band_are_applied(tmp_path: Path):
    path = write_raster(tmp_path / "a.tif", np.full((3, 3), 150, np.int16))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.1,), (2.0,)
        dataset.write_mask(np.array([[255, 255, 0]] * 3, np.uint8))
    heights, valid = read_window(survey_raster(path), (0, 3), (0, 3))
    assert np.allclose(heights[:, :2], 17.0) and not valid[:, 2].any()


def test_the_first_of_several_bands_is_read(tmp_path: Path):
    values = np.stack([np.full((3, 3), k, np.float32) for k in (5, 6)])
    source = survey_raster(write_raster(tmp_path / "a.tif", values))
    assert source.bands == 2 and (read_window(source, (0, 3), (0, 3))[0] == 5).all()


def test_rasters_that_cannot_serve_are_refused(tmp_path: Path):
    values = np.ones((4, 4), np.float32)
    rotated = write_raster(tmp_path / "rotated.tif", values, Affine(2, 0.5, 0, 0.5, -2, 0))
    with pytest.raises(InputError, match=r"rotated\.tif: a rotated or mirrored grid"):
        survey_raster(rotated)
    mirrored = write_raster(tmp_path / "mirrored.tif", values, Affine(-2, 0, 100, 0, -2, 100))
    with pytest.raises(InputError, match="mirrored"):
        survey_raster(mirrored)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        bare = write_raster(tmp_path / "bare.tif", values, None, crs=None)
    with pytest.raises(InputError, match="no georeference"):
        survey_raster(bare)
    wave = write_raster(tmp_path / "wave.tif", values.astype(np.complex64))
    with pytest.raises(InputError, match="complex64"):
        survey_raster(wave)
    (tmp_path / "empty.tif").touch()
    with pytest.raises(InputError, match="empty"):
        survey_raster(tmp_path / "empty.tif")
    (tmp_path / "text.tif").write_text("heights")
    with pytest.raises(InputError, match=r"text\.tif: it cannot be read"):
        survey_raster(tmp_path / "text.tif")
    with pytest.raises(InputMissingError, match=r"none\.tif: no such file"):
        survey_raster(tmp_path / "none.tif")


def test_cut_off_rasters_name_the_file(tmp_path: Path):
    noise = np.random.default_rng(0).random((200, 200)).astype(np.float32)
    path = write_raster(tmp_path / "a.tif", noise)
    path.write_bytes(path.read_bytes()[:90_000])
    with pytest.raises(InputError, match=r"a\.tif.*cut off"):
        read_window(survey_raster(path), (0, 200), (0, 200))


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "low", "high"),
    [
        (("kronenhuset_goteborg", "DEM_KRbig.tif"), (223, 234), "float32", 0.0, 23.3),
        (("bilbao_dtm_bhm", "DEM.tif"), (680, 680), "int16", -2, 103),
        (("bilbao_dtm_bhm", "BDSM.tif"), (1359, 1359), "int16", 0, 52),
        (("lyon_dtm_bdtopo", "dem_10m.tif"), (169, 352), "int16", 160, 295),
    ],
)
def test_real_rasters(name: tuple[str, str], shape: tuple[int, int], dtype: str, low: float, high: float):
    source = survey_raster(city_data(*name))
    assert source.shape == shape and source.dtype == dtype and source.crs
    heights, valid = read_window(source, (0, shape[0]), (0, shape[1]))
    assert valid.all() and low <= heights.min() < low + 1 and high - 1 < heights.max() <= high
