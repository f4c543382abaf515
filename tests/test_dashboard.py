"""The page of a run on the dashboard: what it tells, what it costs, and what a browser makes of it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from distributed.utils import key_split
from PIL import Image

import citymesh_dask as cm
from citymesh_dask import watching
from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.dashboard import RUNNING, STATES, Board, BoardFeed, BoardStage, RunPlugin
from citymesh_dask.engine.local_cluster import local_cluster
from citymesh_dask.engine.plan import Plan, numbered_stage
from citymesh_dask.engine.run import Run
from citymesh_dask.store.manifest import ReceiptFolder
from tests.dask_processes import dask_processes, wait_for
from tests.hostile import write_town

N_TILES, N_DONE = 12, 6
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def get(link: str) -> Any:
    with urllib.request.urlopen(link, timeout=10) as answer:
        body = answer.read()
    return json.loads(body) if link.partition("?")[0].endswith(".json") else body.decode()


def board(n_tiles: int, run_id: str = "1234abcd") -> Board:
    side = int(np.ceil(np.sqrt(n_tiles)))
    places = tuple((k % side, k // side, k % side + 1, k // side + 1) for k in range(n_tiles))
    stages = (BoardStage("read", 1), BoardStage("tile", n_tiles, 500_000_000))
    facts = {"allowed_bytes": 2_000_000_000, "worker_bytes": 900_000_000}
    return Board(run_id, "a city", stages, placed="tile", places=places, **facts)


def wait_from(folder: str, index: int) -> dict[str, Any]:
    """A task: as soon as some are done, whichever come first, the others wait for a file."""
    while len(list(Path(folder).glob("receipts/*"))) >= N_DONE and not (Path(folder) / "go").exists():
        time.sleep(0.01)
    return {"index": index}


# ---- the plugin ----------------------------------------------------------------------------------


def test_states_follow_the_scheduler() -> None:
    plugin = RunPlugin(board(4))
    plugin._scheduler = type("Scheduler", (), {"workers": {}})()
    for key, state in (
        ("tile-0000-1234abcd01", "processing"),
        ("tile-0001-1234abcd01", "processing"),
        ("tile-0001-1234abcd01", "memory"),
        ("tile-0001-1234abcd01", "released"),
        ("tile-0002-1234abcd02", "erred"),
        ("tile-0003-ffffffff01", "memory"),  # of another run
        ("before_tile-1234abcd01", "memory"),
        ("tile-0003", "memory"),
        ("tile-x-1234abcd01", "memory"),
        (("tile-0003-1234abcd01", 0), "memory"),
    ):
        plugin.transition(key, "waiting", state, stimulus_id="s")
    state = plugin.state()
    assert state["tiles"] == "1230"
    assert [stage["total"] for stage in state["stages"]] == [1, 4]
    told = {"stages": {"tile": 7}, "workers": {"one": 7}, "states": [("tile-0000", "split"), ("tile-0003", "skipped")]}
    places = [(0, 0, 0, 0), *((k, 0, k + 1, 1) for k in range(5))]
    plugin.log_event(plugin.name, {**told, "totals": {"tile": 6, "more": 2}, "places": places, "ended": ""})
    plugin.transition("tile-0000-1234abcd02", "waiting", "processing", stimulus_id="s")
    plugin.transition("tile-0005-1234abcd02", "waiting", "processing", stimulus_id="s")
    state = plugin.state()
    assert state["tiles"] == "423501", "what is split stays so, and its parts are there"
    tiles = state["stages"][1]
    assert {"measured": 7, "split": 1, "skipped": 1, "total": 6}.items() <= tiles.items()
    assert state["places"] == 2
    assert plugin.places == places


def test_it_costs_nothing_to_speak_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten thousand tiles: five changes of each, a view, and what travels."""
    plugin = RunPlugin(board(10_000))
    plugin._scheduler = type("Scheduler", (), {"workers": {}})()
    keys = [f"tile-{k:05d}-1234abcd01" for k in range(10_000)]
    begin = time.perf_counter()
    for state in ("waiting", "queued", "processing", "memory", "forgotten"):
        for key in keys:
            plugin.transition(key, "released", state, stimulus_id="s")
    changes = time.perf_counter() - begin
    begin = time.perf_counter()
    shown = plugin.shown()
    view = time.perf_counter() - begin
    assert all(plugin.shown() is shown for _ in range(100)), "however many look, it is counted once"
    with capsys.disabled():
        print(
            f"\n10,000 tiles: {changes * 1e6 / 50_000:.2f} us a change, {view * 1e3:.2f} ms and {len(shown)} B a view"
        )
    assert len(shown) < 12_000
    assert len(json.dumps(plugin.places)) < 300_000
    assert changes < 1
    assert view < 0.1


# ---- by HTTP -------------------------------------------------------------------------------------


@pytest.fixture
def half_way(tmp_path: Path) -> Iterator[tuple[Run[None], BoardFeed]]:
    """A run of which half the tiles are done and one is at work."""
    client, cluster = local_cluster(n_workers=1, worker_bytes=900_000_000)
    page = BoardFeed(client, board(N_TILES))
    stage = numbered_stage("tile", wait_from, N_TILES, arguments=(str(tmp_path),))
    ledger = ReceiptFolder(str(tmp_path / "receipts"))
    executor = ClusterExecutor(client, cluster)
    run = Run(Plan((stage,), 2**31, 1), ledger, executor, finish=lambda run: None, name="1234abcd")
    try:
        page.measured("tile", "0 (somewhere)", 600_000_000)
        wait_for(lambda: get(f"{page.link}/state.json")["tiles"].count("2") == N_DONE)
        yield run, page
    finally:
        (tmp_path / "go").touch()
        run.result(60)


def test_what_the_page_tells(half_way: tuple[Run[None], BoardFeed]) -> None:
    run, page = half_way
    assert run.dashboard_link and page.link
    assert page.link.startswith("http://127.0.0.1:")
    html = get(page.link)
    assert "<canvas" in html
    assert not re.search(r"(src|href)=|https?://", html), "it needs nothing from elsewhere"
    state = get(f"{page.link}/state.json")
    tiles = next(stage for stage in state["stages"] if stage["name"] == "tile")
    assert (tiles["done"], state["status"], state["title"]) == (N_DONE, "running", "a city")
    assert tiles["done"] + tiles["running"] + tiles["waiting"] == N_TILES
    assert STATES.index("running") == RUNNING
    assert str(RUNNING) in state["tiles"]
    (worker,) = state["workers"]
    assert worker["tasks"][0].startswith("tile-00")
    assert (worker["allowed"], worker["projected"]) == (900_000_000, 500_000_000)
    assert 10_000_000 < worker["memory"] <= worker["peak"]
    assert tiles["measured"] == 600_000_000
    assert len(get(f"{page.link}/places.json")) == N_TILES
    assert get(f"{page.link}/runs.json") == {"1234abcd": "a city"}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{page.link}/state.json?run=none")
    assert get(f"{run.dashboard_link.rpartition('/')[0]}/health") == "ok", "Dask's own pages are there as before"


def test_task_names_on_the_dashboard(half_way: tuple[Run[None], BoardFeed]) -> None:
    run, _ = half_way
    assert sorted(run.futures)[0] == "tile-0000"
    keys = {future.key for future in run.futures.values()}
    assert {key_split(key) for key in keys} == {"tile"}
    assert {key_split(f"merge_l2-0003-{'abcdefab'}01")} == {"merge_l2"}


def test_the_share_of_a_worker_is_that_of_the_plan(town: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boards: list[Board] = []

    def feed(client: Client, shown: Board) -> BoardFeed:
        boards.append(shown)
        return BoardFeed(client, shown)

    monkeypatch.setattr(watching, "BoardFeed", feed)
    run = cm.build_city_mesh(town / "town.gpkg", "out.zarr", points=town / "town.laz", n_workers=2, progress=False)
    run.result()
    assert [shown.worker_bytes for shown in boards] == [run.plan.facts["worker_bytes"]]


def test_on_the_cluster_of_others(tmp_path: Path) -> None:
    """The page is on the scheduler's process; two runs have one each, and stay as they ended."""
    town = write_town(tmp_path / "town")
    with dask_processes(tmp_path / "dask", "one") as cluster, cm.connect(cluster.address) as client:
        links = []
        for name in ("a", "b"):
            run = cm.build_city_mesh(
                town / "town.gpkg",
                tmp_path / f"{name}.zarr",
                points=town / "town.laz",
                client=client,
                tile_size=20,
                max_mesh_size=5,
                progress=False,
            )
            run.result(120)
            links.append(run.page_link)
            wait_for(lambda: get(f"{links[-1]}/state.json")["status"] == "finished")
        state = get(f"{links[0]}/state.json")
        assert state["title"].endswith("b.zarr"), "the latest run is shown"
        assert state["tiles"] == "2" * 6
        assert all(stage["done"] == stage["total"] for stage in state["stages"])
        first, second = get(f"{links[0]}/runs.json")
        assert get(f"{links[0]}/state.json?run={first}")["title"].endswith("a.zarr")
        assert not [name for name in client.run_on_scheduler(_plugin_names) if name.startswith("citymesh")]
        assert first != second


def _plugin_names(dask_scheduler: Any) -> list[str]:
    return list(dask_scheduler.plugins)


def test_a_scheduler_that_cannot_have_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        dashboard_link = None
        status = "running"

        def register_plugin(self, plugin: object) -> None:
            raise ModuleNotFoundError("No module named 'citymesh_dask'")

        def log_event(self, *_: object) -> None:
            raise AssertionError("nobody is there to be told")

    client: Client = Refusing()
    feed = BoardFeed(client, board(4))
    feed.measured("tile", "one", 5)
    feed.close("finished")
    assert feed.link is None


# ---- in a browser --------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; the tests above ask the same by HTTP")
def test_in_a_browser(half_way: tuple[Run[None], BoardFeed], tmp_path: Path) -> None:
    _, page = half_way
    waiting = get(f"{page.link}/state.json")["tiles"].index("0")
    page.changed(f"tile-{waiting:04d}", "split")
    time.sleep(1.1)
    page.measured("tile", "0 (somewhere)", 600_000_000)
    wait_for(lambda: "4" in get(f"{page.link}/state.json")["tiles"])
    dom = _browse(page.link, "--dump-dom")
    counts = dict(re.findall(r'data-state="(\w+)" data-count="(\d+)"', dom))
    assert counts["done"] == str(N_DONE)
    assert counts["split"] == "1"
    assert int(counts["running"]) >= 1
    assert re.search(r'id="status" data-status="running">running<', dom)
    assert re.search(r'<tr data-stage="tile".*?6 / 12.*?600 MB.*?500 MB', dom)
    assert re.search(r'class="number over">600 MB', dom), "more was measured than was projected"
    assert re.search(r"900 MB for a worker", dom)
    shot = tmp_path / "page.png"
    _browse(page.link, f"--screenshot={shot}", "--window-size=1300,900")
    pixels = np.asarray(Image.open(io.BytesIO(shot.read_bytes())).convert("RGB"))
    for name, colour in (("done", (0x2F, 0x7F, 0xB8)), ("running", (0xF0, 0xA0, 0x30)), ("split", (0x8A, 0x63, 0xC9))):
        assert np.count_nonzero((pixels == colour).all(axis=-1)) > 2000, f"tiles that are {name} are seen"


def _browse(link: str | None, *flags: str) -> str:
    line = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", *flags]
    line += ["--hide-scrollbars", "--force-device-scale-factor=1", str(link)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
