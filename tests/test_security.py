"""Who can reach a run and its files: sockets, certificates, permissions, names that want to be paths."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import shapely
from distributed import Client
from distributed.security import Security

import citymesh_dask as cm
from citymesh_dask.engine.remote import connect_address
from citymesh_dask.errors import OptionError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.store.city_store import open_store
from tests.dask_processes import dask_processes, wait_for
from tests.hostile import HOUSES

SHAPE: dict[str, Any] = {"max_mesh_size": 10, "progress": False}


# ---- sockets -------------------------------------------------------------------------------------


def listening(process: psutil.Process) -> dict[int, set[str]]:
    """Return the addresses on which a process and all its descendants listen, by process."""
    found = {}
    for member in (process, *process.children(recursive=True)):
        sockets = member.net_connections("inet")
        found[member.pid] = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    return found


def test_everything_listens_on_loopback_alone(town: Path, tmp_path: Path) -> None:
    """Scheduler, dashboard, workers and nannies of a run by the command line, read from the system."""
    line = [sys.executable, "-m", "citymesh_dask", "build", "--footprints", f"{town}/town.gpkg", "--quiet"]
    line += ["--points", f"{town}/town.laz", "--out", str(tmp_path / "out.zarr"), "--workers", "2"]
    process = subprocess.Popen([*line, "--tile-size", "4", "--max-mesh-size", "1"])
    try:
        receipts = tmp_path / "out.zarr.scratch" / "receipts"
        wait_for(lambda: any(receipts.glob("mesh_tile*")) or process.poll() is not None, 100)
        assert process.poll() is None
        found = listening(psutil.Process(process.pid))
    finally:
        process.kill()
        process.wait()
    assert len(found[process.pid]) == 1, "the scheduler and its dashboard"
    assert sum(bool(addresses) for addresses in found.values()) == 3, "and two workers"
    assert set.union(*found.values()) == {"127.0.0.1"}


# ---- certificates --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a key and a certificate that signs itself, as PEM files."""
    folder = tmp_path_factory.mktemp("certificates")
    made = Security.temporary()
    (folder / "key.pem").write_text(made.tls_client_key)
    (folder / "certificate.pem").write_text(made.tls_client_cert)
    return folder


def security_of(folder: Path) -> Security:
    both = {"cert": f"{folder}/certificate.pem", "key": f"{folder}/key.pem"}
    named = {f"tls_{who}_{what}": path for who in ("client", "scheduler", "worker") for what, path in both.items()}
    return Security(tls_ca_file=f"{folder}/certificate.pem", require_encryption=True, **named)


@pytest.fixture(scope="module")
def guarded(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a cluster of processes that speaks with holders of the certificate only."""
    flags = ["--protocol", "tls", "--tls-ca-file", f"{certificates}/certificate.pem"]
    flags += ["--tls-cert", f"{certificates}/certificate.pem", "--tls-key", f"{certificates}/key.pem"]
    with dask_processes(tmp_path_factory.mktemp("dask"), "guarded", flags=tuple(flags)) as cluster:
        yield cluster.address


def test_a_run_over_tls(guarded: str, certificates: Path, town: Path, tmp_path: Path) -> None:
    assert guarded.startswith("tls://127.0.0.1:")
    with cm.connect(guarded, security=security_of(certificates)) as client:
        run = cm.build_city_mesh(
            town / "town.gpkg", tmp_path / "out.zarr", points=town / "town.laz", client=client, **SHAPE
        )
        assert check_store(run.result(120).path).ok
        assert [name.split(" (")[0] for name in run.report.worker_names] == ["guarded"]
        assert "(tls://127.0.0.1:" in run.report.worker_names[0]


def test_nobody_comes_in_without_the_certificate(guarded: str, tmp_path: Path) -> None:
    stranger = Security.temporary()
    with pytest.raises(OptionError, match=r"tls://127.*certificates of both sides"):
        connect_address(guarded, 2, security=stranger)
    with pytest.raises(OptionError, match="scheduler tls://127"):
        cm.connect(guarded)
    with pytest.raises(OptionError, match="no answer"):
        connect_address(guarded.replace("tls:", "tcp:"), 2)


def test_a_local_cluster_over_tls(certificates: Path, town: Path, tmp_path: Path) -> None:
    client = cm.connect(n_workers=1, memory_limit="2GB", security=security_of(certificates))
    try:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        with pytest.raises(OSError):
            Client(client.scheduler.address.replace("tls:", "tcp:"), timeout=1, set_as_default=False)
        run = cm.build_city_mesh(
            town / "town.gpkg", tmp_path / "out.zarr", points=town / "town.laz", client=client, **SHAPE
        )
        assert run.result(120).n_faces
    finally:
        client.shutdown()


# ---- permissions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True], ids=["new", "an empty folder that was there"])
def test_scratch_folders_are_private(town: Path, tmp_path: Path, there: bool) -> None:
    before = os.umask(0)
    scratch = tmp_path / "out.zarr.scratch"
    try:
        if there:
            scratch.mkdir(mode=0o777)
        run = cm.build_city_mesh(
            town / "town.gpkg",
            tmp_path / "out.zarr",
            points=town / "town.laz",
            scheduler="synchronous",
            keep_intermediate=True,
            **SHAPE,
        )
        run.result(60)
    finally:
        os.umask(before)
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700


# ---- names that want to be paths -----------------------------------------------------------------

NAMES = (
    "../../x",
    "..",
    "a/b",
    "a\\b",
    "/etc/hostname",
    ".hidden",
    "zarr.json",
    "x" * 5000,
    "nul\0byte",
    "new\nline",
    "C:\\x",
    " ",
    "id",
    "%2e%2e%2fx",
    "~root",
)


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def write_collection(path: Path, layer: str, properties: dict[str, str]) -> None:
    """Write the houses with names that only GeoJSON takes."""
    features = [
        {
            "type": "Feature",
            "id": f"../../../id{k}",
            "properties": properties,
            "geometry": shapely.geometry.mapping(house),
        }
        for k, house in enumerate(HOUSES)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "name": layer, "features": features}))


def test_attributes_and_ids_never_become_paths(town: Path, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    name = "..%2f..%2fodd name$(touch x).geojson"
    write_collection(inner / name, "houses", {name: f"../{name[:20]}" for name in NAMES})
    before = everything(tmp_path)
    shape = {**SHAPE, "scheduler": "synchronous", "crs": "EPSG:28992", "keep_intermediate": True}
    mesh = cm.build_city_mesh(inner / name, inner / "out.zarr", points=town / "town.laz", **shape).result(60)
    made = everything(tmp_path) - before
    outputs = ("a/b/c/out.zarr", "a/b/c/out.report.html")
    assert [path for path in made if not path.startswith(outputs)] == []
    columns = {path.name for path in (inner / "out.zarr" / "buildings").iterdir()}
    assert "x" * 200 in columns
    assert not {name for name in columns if name.startswith(".") or set("/\\\0") & set(name)}
    assert sorted(mesh.buildings["id"]) == ["../id", "../id"], "the values stay as they are"
    assert check_store(inner / "out.zarr").ok


@pytest.mark.parametrize("layer", ["../../x", "a/b", "..", "x" * 300, "new\nline"])
def test_layers_never_become_paths(town: Path, tmp_path: Path, layer: str) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write_collection(inner / "town.geojson", layer, {"number": "1"})
    before = everything(tmp_path)
    mesh = cm.build_city_mesh(
        inner / "town.geojson",
        inner / "out.zarr",
        layer=layer,
        crs="EPSG:28992",
        points=town / "town.laz",
        scheduler="synchronous",
        log=True,
        **SHAPE,
    ).result(60)
    assert mesh.n_buildings == 2
    made = everything(tmp_path) - before
    assert [path for path in made if not path.startswith(("a/b/out.zarr", "a/b/out.report.html"))] == []
    assert open_store(mesh.path).attributes["n_buildings"] == 2
