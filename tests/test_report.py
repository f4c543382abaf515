"""The report: nothing that is missing can be missed, in the text and in the HTML."""

from __future__ import annotations

import html.parser
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from citymesh_dask.errors import OutputError
from citymesh_dask.facts import QualityFacts, RunFacts, StageFacts
from citymesh_dask.outcomes import MEANINGS
from citymesh_dask.pipelines.export import Picture
from citymesh_dask.report import (
    certificate_holds,
    describe,
    format_value,
    missing_buildings,
    render_html,
    report_path,
    write_html,
    write_report,
)
from citymesh_dask.store.city_store import open_store
from tests.builders import block_store

PROOF = {"open_edges": 0, "overused_edges": 0, "inconsistent_edges": 0, "inverted_triangles": 0}
PROOF |= {"rim_length": 140.0, "domain_area": 1200.0, "mesh_area": 1200.0, "area_exact": True}
REASONS = tuple(
    {"status": meaning.status, "reason": meaning.reason, "count": 1000 + i, "examples": [f"id<{i}>"]}
    for i, meaning in enumerate(MEANINGS.values())
    if meaning.reason
)
OUTSIDE = next(entry["count"] for entry in REASONS if entry["reason"] == "outside the domain")
FACTS = RunFacts(
    command='citymesh build --footprints "a & b.gpkg"',
    store="out/city.zarr",
    inputs=({"role": "footprints", "path": "a & b.gpkg", "size": 12_000_000, "features": 41},),
    plan=({"stage": "mesh_tile", "tasks": 4, "projected_bytes": 120_000_000},),
    stages=(StageFacts("mesh_tile", 4, 20.0, 9.5, 400_000_000, 300_000_000, 12_000_000, reused=3),),
    outcomes={"meshed": 1234567, "merged": 21, "skipped": 22 + OUTSIDE, "failed": 3},
    reasons=REASONS,
    holes=("tile 7: out of <memory>",),
    splits=({"tile": 3, "parts": [8, 9, 10, 11]}, {"tile": 9, "parts": [12, 13, 14, 15]}),
    warnings=("two files overlap by 40 % </script>",),
    n_vertices=20,
    n_faces=26,
    quality=QualityFacts(tuple(range(60)) + (0,) * 30, (5,) * 46 + (0,) * 44, 12, 3, 0, 25.0),
    certificate=PROOF,
    terrain={"filled_share": 0.125, "largest_hole_m": 14.0},
    seconds=75.0,
    peak_memory=400_000_000,
    allowed_memory=2_000_000_000,
    workers=2,
    versions={"zarr": "3.1.6"},
)
SINGLE = ("meta", "line", "rect", "img")


class Page(html.parser.HTMLParser):
    """Collects the text of a page and checks that its elements are nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.facts = ""
        self.pictures: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SINGLE
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.facts += data
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All text with single spaces."""
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_page_holds_every_outcome_reason_hole_and_warning() -> None:
    page = Page(render_html(FACTS, b"png"))
    for status, count in FACTS.outcomes.items():
        assert status in page.text and f"{count:,}" in page.text
    for entry in FACTS.reasons:
        assert entry["reason"] in page.text and f"{entry['count']:,}" in page.text
        assert entry["examples"][0] in page.text
    assert FACTS.holes[0] in page.text
    assert FACTS.warnings[0] in page.text
    assert f"25 of them not in the mesh, beside {OUTSIDE:,} outside the domain" in page.text
    assert "The certificate does not hold" in page.text, "a tile is missing"


def test_what_is_missing_stands_before_the_picture_and_the_figures() -> None:
    text = render_html(FACTS, b"png")
    places = [
        text.index(word) for word in ("tile 7", "two files overlap", "no evidence of height", "<img", "Certificate<")
    ]
    assert places == sorted(places)


def test_the_page_holds_the_rest_and_needs_no_network() -> None:
    text = render_html(FACTS, b"png")
    page = Page(text)
    for word in (
        "a & b.gpkg",
        "12 MB",
        "mesh_tile",
        "120 MB",
        "(3 reused)",
        "12.5 %",
        "14.0 m",
        "1 min 15 s",
        "zarr 3.1.6",
    ):
        assert word in page.text, word
    assert page.pictures == ["data:image/png;base64,cG5n"]
    assert not re.search(r"https?:|@import|<link|src=\"(?!data:)", text)
    assert text.count("<rect") == 120
    assert 'class="number over">400 MB' in text, "more memory than projected is marked"


def test_of_many_input_files_the_terminal_names_a_few() -> None:
    files = tuple({"role": "points", "path": f"{i}.laz", "bytes": 1000, "modified_ns": 0} for i in range(3000))
    lines = [line for line in describe(replace(FACTS, inputs=files)).splitlines() if line.startswith("input")]
    assert len(lines) == 6
    assert lines[0].endswith("points 0.laz (size 1 kB, modified 1970-01-01 00:00:00 UTC)")
    assert lines[-1].endswith("points: and 2,995 more; 3,000 files, 3 MB in all")


def test_tiles_that_were_split_have_a_line_each() -> None:
    lines = describe(FACTS).splitlines()
    split = "tile 3 was split into tiles 8, 9, 10, 11: memory was short for it"
    assert f"split      {split}" in lines and len([line for line in lines if line.startswith("split ")]) == 2
    page = Page(render_html(FACTS, b"")).text
    assert f"T{split[1:]}." in page and "Tile 9 was split into tiles 12, 13, 14, 15" in page


def test_stages_without_tasks_are_not_shown() -> None:
    facts = replace(FACTS, stages=(*FACTS.stages, StageFacts("sample_surface", 0, 0.0, 0.0, 0, 461_000_000)))
    assert "sample_surface" not in describe(facts)
    assert "sample_surface" not in Page(render_html(facts, b"")).text


def test_the_facts_travel_in_the_page_and_through_json() -> None:
    page = Page(render_html(FACTS, b""))
    assert RunFacts.from_json(json.loads(page.facts)) == FACTS
    assert page.pictures == []


def test_an_empty_run_makes_a_page_too() -> None:
    page = Page(render_html(RunFacts(), b""))
    assert "no certificate" in page.text and "no buildings" in page.text
    assert "does not hold" in page.text
    assert "none" in describe(RunFacts())


def test_the_terminal_text_holds_every_outcome_reason_hole_and_warning() -> None:
    text = describe(FACTS)
    for status, count in FACTS.outcomes.items():
        assert f"{count:,} {status}" in text
    for entry in FACTS.reasons:
        assert f"{entry['count']:,} {entry['status']}: {entry['reason']}" in text
    assert "MISSING TILE  tile 7" in text and "WARNING    two files overlap" in text
    assert "DOES NOT HOLD" in text
    assert "mesh_tile" in text and "(3 reused)" in text and "400 MB" in text
    assert "input      footprints a & b.gpkg (size 12 MB, features 41)" in text
    assert "0 open edges" in text and "area exact" in text
    assert "0-10° 2.5 %, 10-20° 8.2 %" in text and "12 of 1,770 (0.678 %) under the asked 25°" in text
    assert "filled share 12.5 %, largest hole 14.0 m" in text


@pytest.mark.parametrize(
    "proof",
    [
        {},
        {**PROOF, "open_edges": 1},
        {**PROOF, "area_exact": False},
        {k: v for k, v in PROOF.items() if k != "overused_edges"},
    ],
)
def test_a_certificate_holds_only_when_all_of_it_does(proof: dict[str, float]) -> None:
    whole = replace(FACTS, holes=(), certificate=PROOF)
    assert certificate_holds(whole)
    assert "watertight up to its outer rim" in describe(whole)
    assert "Watertight up to its outer rim" in render_html(whole, b"")
    solid = replace(whole, certificate={**PROOF, "rim_length": 0.0})
    assert "watertight solid" in describe(solid) and "Watertight solid" in render_html(solid, b"")
    assert not certificate_holds(replace(whole, certificate=proof))
    assert not certificate_holds(FACTS)


def test_missing_buildings_are_those_without_a_trace() -> None:
    assert missing_buildings(FACTS) == 25
    assert missing_buildings(replace(FACTS, outcomes={"meshed": 4, "merged": 2}, reasons=())) == 0


def test_the_report_lies_beside_the_store_with_its_picture(tmp_path: Path) -> None:
    store = open_store(block_store(tmp_path / "city.zarr"))
    path = write_report(store, FACTS, Picture(size=(120, 80)))
    assert path == report_path(store.path) == tmp_path / "city.report.html"
    page = Page(path.read_text(encoding="utf8"))
    assert re.search(r"x [-\d.]+ to [-\d.]+ m, y [-\d.]+ to [-\d.]+ m .*, 1 tile ", page.text)
    assert page.pictures[0].startswith("data:image/png;base64,iVBOR")
    assert {entry.name for entry in tmp_path.iterdir()} == {"city.zarr", "city.report.html"}


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path: Path) -> None:
    store = open_store(block_store(tmp_path / "city.zarr"))
    for chunk in (store.path / "vertices" / "c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    page = Page(write_report(store, FACTS).read_text(encoding="utf8"))
    assert "the picture could not be drawn" in page.text and "chunk is missing" in page.text
    assert page.pictures == []


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        write_html(tmp_path / "nowhere" / "report.html", FACTS, b"")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html"):
        write_html(tmp_path / "report.html", FACTS, b"")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_values_are_written_for_people() -> None:
    assert format_value(None) == "none"
    assert format_value([1, 2.5]) == "1, 2.50"
    assert format_value([1.0, 0.5], "cell") == "1 m x 0.5 m"
    assert format_value(float("nan"), "filled_share") == "nan %"
    assert format_value(1234567.0) == "1,234,567"
