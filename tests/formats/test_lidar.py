"""Point files: headers, chunks, flags, and files that are not whole."""

from __future__ import annotations

import copy
import struct
from collections.abc import Sequence
from pathlib import Path

import laspy
import lazrs
import numpy as np
import pytest

from citymesh_dask.errors import InputError, InputMissingError
from citymesh_dask.formats.lidar import PointSource, read_points, survey_points
from tests.conftest import city_data
from tests.ground_samples import write_points

N_POINTS = 130_000  # more than two LAZ chunks of 50,000


def write_las(path: Path, *, point_format: int = 6, n: int = N_POINTS) -> laspy.LasData:
    """Write points on 100 x 50 m from (1000, 2000), classes 2 and 6, and return them."""
    rng = np.random.default_rng(point_format)
    xyz = (1000, 2000, -5) + rng.random((n, 3)) * (100, 50, 30)
    return write_points(path, xyz, rng.choice([2, 6], n), point_format=point_format, scale=0.01)


def joined(source: PointSource, **options: float) -> dict[str, np.ndarray]:
    chunks = list(read_points(source, **options))
    return {
        name: np.concatenate([getattr(c, name) for c in chunks]) for name in ("x", "y", "z", "classification", "keep")
    }


@pytest.mark.parametrize("name", ["a.las", "a.laz"])
@pytest.mark.parametrize("point_format", [1, 6])
def test_points_come_back_as_written(tmp_path: Path, name: str, point_format: int):
    las = write_las(tmp_path / name, point_format=point_format)
    (source,) = survey_points([tmp_path / name])
    assert (source.n_points, source.point_format, source.crs, source.copc) == (N_POINTS, point_format, None, False)
    assert source.bounds == tuple(float(getattr(a, f)()) for f in ("min", "max") for a in (las.x, las.y, las.z))
    got = joined(source, chunk=40_000)
    assert np.array_equal(got["x"], las.x) and np.array_equal(got["y"], las.y)
    assert np.array_equal(got["z"], np.rint(np.asarray(las.z) * 1000))
    assert np.array_equal(got["classification"], las.classification) and got["keep"].all()


def test_any_range_in_any_chunks_is_the_same(tmp_path: Path):
    write_las(tmp_path / "a.laz")
    (source,) = survey_points([tmp_path / "a.laz"])
    whole = joined(source)["z"]
    ranges = ((0, 50_000, 7_000), (49_999, 50_001, 1), (60_000, 129_999, 60_000), (123_456, N_POINTS + 5, 500_000))
    for start, stop, chunk in ranges:
        found = list(read_points(source, start, stop, chunk=chunk))
        assert np.array_equal(np.concatenate([c.z for c in found]), whole[start:stop])
        assert max(len(c.z) for c in found) <= chunk
    assert not list(read_points(source, 5, 5))


def bytes_and_points(path: Path) -> tuple[bytearray, int]:
    """Return the bytes of a file, and where those of its points begin: in LAZ with the place of the chunk table."""
    with laspy.open(path) as reader:
        return bytearray(path.read_bytes()), reader.header.offset_to_point_data


def write_uneven_laz(path: Path, las: laspy.LasData, sizes: Sequence[int]) -> None:
    """Write points as a LAZ file with chunks of these sizes, as COPC has them."""
    las.update_header()
    header = copy.deepcopy(las.header)
    packing = lazrs.LazVlr.new_for_compression(header.point_format.id, 0, use_variable_size_chunks=True)
    header.vlrs.append(laspy.vlrs.known.LasZipVlr(packing.record_data()))
    header.are_points_compressed = True
    with path.open("wb") as file:
        header.write_to(file)
        compressor = lazrs.LasZipCompressor(file, packing)
        for records in np.split(las.points.array, np.cumsum(sizes)):
            if len(records):
                compressor.compress_many(records.tobytes())
                compressor.finish_current_chunk()
        compressor.done()


@pytest.mark.parametrize("chunk", [3_000, 12_000, 500_000])
def test_ranges_of_chunks_of_different_sizes(tmp_path: Path, chunk: int):
    """Readers that seek give other points there."""
    las = write_las(tmp_path / "a.las", n=20_000)
    sizes = [9_000, 100, 1, 4_000, 2_500]
    write_uneven_laz(tmp_path / "a.laz", las, sizes)
    plain, uneven = survey_points([tmp_path / "a.las", tmp_path / "a.laz"])
    whole = joined(plain)
    ends = np.cumsum([0, *sizes])
    for start in {0, 1, *ends.tolist(), *(ends - 1).tolist()[1:], 19_999}:
        for stop in (start + 1, start + 2, start + 5_000, 20_000):
            part = joined(uneven, start=start, stop=stop, chunk=chunk)
            assert all(np.array_equal(part[name], whole[name][start:stop]) for name in whole)


def test_any_range_of_copc_is_the_same():
    (source,) = survey_points(
        [city_data("ign_77050_six_tiles", "test_data_77050_627755_LA93_IGN69_buildings.copc.laz")]
    )
    whole = joined(source)
    for start in (1, 57_377, 57_378, 57_379, 61_874, 66_955, 70_151, 73_354):  # its chunks begin at 57378, 61874, ...
        part = joined(source, start=start, stop=start + 3_000)
        assert all(np.array_equal(part[name], whole[name][start : start + 3_000]) for name in whole)


@pytest.mark.parametrize("n_chunks", [0, 2, 4, 100, 130_001, 0xFFFFFFF0])
def test_laz_with_another_table_of_chunks_is_refused(tmp_path: Path, n_chunks: int):
    """lazrs takes memory for as many as are stated: four billion of them would end the process."""
    write_las(tmp_path / "a.laz")
    data, offset = bytes_and_points(tmp_path / "a.laz")
    (place,) = struct.unpack_from("<q", data, offset)
    struct.pack_into("<I", data, place + 4, n_chunks)
    (tmp_path / "a.laz").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.laz: .*its chunk table.* (cannot be read|points in)"):
        survey_points([tmp_path / "a.laz"])


@pytest.mark.parametrize("place", [-1_000, -1, 8, 5_000, 1 << 60])
def test_laz_whose_table_of_chunks_is_elsewhere_is_refused(tmp_path: Path, place: int):
    write_las(tmp_path / "a.laz")
    data, offset = bytes_and_points(tmp_path / "a.laz")
    struct.pack_into("<q", data, offset, place)
    (tmp_path / "a.laz").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.laz: .*its chunk table"):
        survey_points([tmp_path / "a.laz"])


@pytest.mark.parametrize("change", [(0, b"lazy encoded"), (54, b"\xff" * 40)])
def test_laz_that_does_not_say_how_it_is_packed(tmp_path: Path, change: tuple[int, bytes]):
    write_las(tmp_path / "a.laz", n=1_000)
    data = bytearray((tmp_path / "a.laz").read_bytes())
    place = data.index(b"laszip encoded") + change[0]
    data[place : place + len(change[1])] = change[1]
    (tmp_path / "a.laz").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.laz: .*(does not say how its points are packed|cannot be read)"):
        survey_points([tmp_path / "a.laz"])


def test_laz_that_was_written_to_a_pipe(tmp_path: Path):
    """The place of its chunk table stands in its last bytes."""
    write_las(tmp_path / "a.laz")
    (source,) = survey_points([tmp_path / "a.laz"])
    whole = joined(source)
    data, offset = bytes_and_points(tmp_path / "a.laz")
    place = data[offset : offset + 8]
    struct.pack_into("<q", data, offset, -1)
    (tmp_path / "a.laz").write_bytes(data + place)
    (source,) = survey_points([tmp_path / "a.laz"])
    part = joined(source, start=60_000, stop=110_000)
    assert all(np.array_equal(part[name], whole[name][60_000:110_000]) for name in whole)


def test_heights_are_scaled_to_metres(tmp_path: Path):
    las = write_las(tmp_path / "feet.las", n=1000)
    (source,) = survey_points([tmp_path / "feet.las"])
    assert np.array_equal(joined(source, z_scale=0.3048)["z"], np.rint(np.asarray(las.z) * 304.8))


@pytest.mark.parametrize("point_format", [1, 6])
def test_flagged_and_noisy_points_are_not_kept(tmp_path: Path, point_format: int):
    las = write_las(tmp_path / "a.las", point_format=point_format, n=10)
    las.classification = np.array([2, 6, 7, 18, 12, 2, 2, 2, 2, 1], np.uint8)
    las.withheld = np.arange(10) == 5
    las.synthetic = np.arange(10) == 6
    las.key_point = np.arange(10) == 8
    las.Z[9] = 2**31 - 1  # 2147 km up
    expected = [True, True, False, False, True, False, False, True, True, False]
    if point_format >= 6:
        las.overlap = np.arange(10) == 7
        expected[7] = False
    else:
        expected[4] = False  # class 12 was overlap in the old formats
    las.write(tmp_path / "a.laz")
    (source,) = survey_points([tmp_path / "a.laz"])
    assert joined(source)["keep"].tolist() == expected


def test_patterns_and_folders_give_each_file_once(tmp_path: Path):
    for name in ("b.laz", "a.las", "c.LAZ"):
        write_las(tmp_path / name, n=10)
    (tmp_path / "notes.txt").write_text("no points")
    for paths in ([tmp_path], [tmp_path / "*.la*", tmp_path / "c.LAZ"], [tmp_path / "a.las", tmp_path]):
        names = [Path(source.path).name for source in survey_points(paths)]
        assert sorted(names) == ["a.las", "b.laz", "c.LAZ"]
    for path in (tmp_path / "*.xyz", tmp_path / "none.las"):
        with pytest.raises(InputMissingError, match=r"xyz|none"):
            survey_points([path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissingError, match="no LAS or LAZ"):
        survey_points([tmp_path / "empty"])


@pytest.mark.parametrize("name", ["a.las", "a.laz"])
def test_cut_off_files_are_refused_by_name(tmp_path: Path, name: str):
    write_las(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for size in (0, 3, 200, 300, 5000, len(whole) // 2, len(whole) - 9):
        cut = tmp_path / f"{size}-{name}"
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match=rf"{size}-{name}.*(empty|cut off|no LAS)"):
            for source in survey_points([cut]):
                list(read_points(source))


def test_files_of_other_kinds_are_refused(tmp_path: Path):
    other = tmp_path / "other.laz"
    other.write_bytes(b"PK\x03\x04" * 200)
    with pytest.raises(InputError, match=r"no LAS file \(it begins with b'PK"):
        survey_points([other])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (24, b"\x09\x09", "version 9.9"),
        (104, b"\x0b", "point format 11"),
        (105, struct.pack("<H", 4), "points of 4 bytes"),
        (100, struct.pack("<I", 4_000_000_000), "4000000000 variable length records"),
        (131, struct.pack("<d", 0.0), "positive scales"),
        (179, struct.pack("<d", float("nan")), "finite numbers"),
        (187, struct.pack("<d", float("inf")), "finite numbers"),
        (187, struct.pack("<d", 1e9), "impossible extent"),
        (247, struct.pack("<Q", 0), "no points"),
        (247, struct.pack("<Q", 2**60), "cut off"),
        (179, struct.pack("<d", 1010.0), "outside the box in its header"),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, place: int, value: bytes, message: str):
    write_las(tmp_path / "a.las", n=100)
    data = bytearray((tmp_path / "a.las").read_bytes())
    data[place : place + len(value)] = value
    (tmp_path / "a.las").write_bytes(data)
    with pytest.raises(InputError, match=message):
        for source in survey_points([tmp_path / "a.las"]):
            list(read_points(source))


def test_damage_inside_laz_points_names_the_file(tmp_path: Path):
    write_las(tmp_path / "a.laz")
    data = bytearray((tmp_path / "a.laz").read_bytes())
    data[3000:5000] = np.random.default_rng(0).bytes(2000)
    (tmp_path / "a.laz").write_bytes(data)
    (source,) = survey_points([tmp_path / "a.laz"])
    with pytest.raises(InputError, match=r"a\.laz"):
        list(read_points(source))


@pytest.mark.parametrize("share", [0.05, 0.35, 0.5, 0.8, 0.95])
def test_damaged_heights_of_laz_are_noticed(tmp_path: Path, share: float):
    """They are decompressed without an error, into any numbers."""
    n = 60_000
    heights = np.random.default_rng(1).random(n) * 10
    xyz = np.column_stack([np.arange(n) % 300, np.arange(n) // 300, heights])
    write_points(tmp_path / "a.laz", xyz, np.full(n, 2))
    data = bytearray((tmp_path / "a.laz").read_bytes())
    start = int(len(data) * share)
    data[start : start + 1000] = np.random.default_rng(0).bytes(1000)
    (tmp_path / "a.laz").write_bytes(data)
    (source,) = survey_points([tmp_path / "a.laz"])
    with pytest.raises(InputError, match=r"a\.laz: .*(outside the box|cannot be read)"):
        list(read_points(source))


def test_a_file_that_changed_is_noticed(tmp_path: Path):
    write_las(tmp_path / "a.las", n=100)
    (source,) = survey_points([tmp_path / "a.las"])
    write_las(tmp_path / "a.las", n=90)
    with pytest.raises(InputError, match="90 points, 100 when the run began"):
        list(read_points(source))


def test_crs_and_height_unit_of_geotiff_keys(tmp_path: Path):
    las = write_las(tmp_path / "a.las", n=10)
    keys = laspy.vlrs.known.GeoKeyDirectoryVlr()
    keys.geo_keys_header.number_of_keys = 2
    keys.geo_keys = [
        laspy.vlrs.known.GeoKeyEntryStruct(id=3072, tiff_tag_location=0, count=1, value_offset=32119),
        laspy.vlrs.known.GeoKeyEntryStruct(id=4099, tiff_tag_location=0, count=1, value_offset=9003),
    ]
    las.header.vlrs.append(keys)
    las.write(tmp_path / "b.las")
    (source,) = survey_points([tmp_path / "b.las"])
    assert source.crs is not None and "North Carolina" in source.crs
    assert source.metres_per_height == pytest.approx(0.3048006)


def test_copc_is_read_as_the_tile_that_it_was_made_from():
    folder = "ign_77050_six_tiles"
    names = ("test_data_77050_627755_LA93_IGN69_buildings.copc.laz", "test_data_77050_627755_LA93_IGN69.laz")
    copc, plain = survey_points([city_data(folder, name) for name in names])
    assert copc.copc and not plain.copc
    assert copc.crs is not None and "Lambert-93" in copc.crs
    assert copc.bounds == plain.bounds and copc.n_points == plain.n_points == 73_355
    tables = []
    for source in (copc, plain):
        got = joined(source)
        columns = np.stack([np.rint(got["x"] * 100), np.rint(got["y"] * 100), got["z"], got["classification"]])
        tables.append(columns[:, np.lexsort(columns)])
    assert np.array_equal(*tables)


def test_delft_has_the_counts_of_its_readme():
    sources = survey_points([city_data("delft_3dfier", f"ahn3_cropped_{k}.laz") for k in (1, 2)])
    assert [source.n_points for source in sources] == [640_510, 208_432]
    classes = np.concatenate([joined(source)["classification"] for source in sources])
    assert (classes == 9).sum() == 835 and sources[0].crs is None
