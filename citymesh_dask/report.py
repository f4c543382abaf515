"""The report of a finished run: text for the terminal, and one HTML file with a picture beside the store.

Facts come from `citymesh_dask.facts`, the picture from `citymesh_dask.pipelines.export`; here they are
put into words and figures. What is missing from the mesh stands first.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from .errors import CityMeshError
from .facts import RunFacts, StageFacts
from .formats.whole_file import finished_file
from .outcomes import MEANINGS, Outcome
from .pipelines.export import Picture, draw_store
from .store.city_store import CityStore
from .store.schema import CERTIFICATE

_FAULTS = ("open_edges", "overused_edges", "inconsistent_edges", "inverted_triangles")
_MISSING = ("skipped", "failed")
_OUTSIDE = MEANINGS[Outcome.SKIPPED_OUTSIDE].reason
_MOST_FILES = 5
"""Input files of one role that a terminal shows by name."""
_FACTS_BEGIN = '<script type="application/json" id="facts">'


def report_path(store_path: str | Path) -> Path:
    """Return where the report of a store lies: beside it.

    >>> report_path("out/delft.zarr").name
    'delft.report.html'
    """
    path = Path(store_path)
    stem = path.stem if path.suffix == ".zarr" else path.name
    return path.with_name(f"{stem}.report.html")


def write_report(store: CityStore, facts: RunFacts, picture: Picture | None = None) -> Path:
    """Draw a finished store and write its report beside it.

    Parameters
    ----------
    store : CityStore
        The store.
    facts : RunFacts
        What the run has to tell.
    picture : Picture, optional
        How the picture shall look.

    Returns
    -------
    Path
        The HTML file. A picture that cannot be drawn becomes a warning in it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    try:
        image = draw_store(store, picture or Picture())
    except (CityMeshError, MemoryError) as error:
        image = b""
        facts = replace(facts, warnings=(*facts.warnings, f"the picture could not be drawn: {error}"))
    path = report_path(store.path)
    write_html(path, facts, image, domain=_domain_text(store))
    return path


def _domain_text(store: CityStore) -> str:
    """Return CRS, box, size and tiles of a city as one line."""
    attributes = store.attributes
    xmin, ymin, xmax, ymax = attributes["bounds"]
    crs = (attributes.get("crs") or {}).get("authority") or "CRS without a code"
    size = f"{xmax - xmin:,.1f} m x {ymax - ymin:,.1f} m"
    tiles = len(store.read("tiles/bounds"))
    return (
        f"{crs}, x {xmin:.2f} to {xmax:.2f} m, y {ymin:.2f} to {ymax:.2f} m ({size}), {tiles:,} tile{'s'[: tiles != 1]}"
    )


def write_html(path: str | Path, facts: RunFacts, picture_png: bytes, *, domain: str = "") -> None:
    """Write facts and a picture as one HTML file that needs nothing else.

    Parameters
    ----------
    path : path
        The file; it is replaced if it exists.
    facts : RunFacts
        What to show. The file also holds them as JSON, in the element ``facts``.
    picture_png : bytes
        A PNG file; empty for none.
    domain : str
        CRS and size of the city in words.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with finished_file(Path(path)) as file:
        file.write(render_html(facts, picture_png, domain=domain).encode("utf8", errors="backslashreplace"))


def read_facts(store: CityStore) -> RunFacts | None:
    """Return the facts in the report beside a store; None where there is none, or that of another mesh.

    Parameters
    ----------
    store : CityStore
        The store.
    """
    try:
        text = report_path(store.path).read_text(encoding="utf8")
        facts = RunFacts.from_json(json.loads(text.partition(_FACTS_BEGIN)[2].partition("</script>")[0]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    same = (facts.n_vertices, facts.n_faces) == (store.n_vertices, store.n_faces)
    return facts if same and facts.certificate == store.attributes.get("certificate") else None


def render_html(facts: RunFacts, picture_png: bytes, *, domain: str = "") -> str:
    """Return the HTML text that `write_html` writes."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("citymesh_dask"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        bytes=format_bytes, count=format_count, seconds=format_seconds, value=format_value, words=_words, share=_share
    )
    text: str = environment.get_template("report.html").render(
        facts=facts,
        splits=list(map(describe_split, facts.splits)),
        domain=domain,
        holds=certificate_holds(facts),
        verdict=_verdict(facts),
        missing=missing_buildings(facts),
        outside=_outside_buildings(facts),
        stages=[stage for stage in facts.stages if stage.tasks],
        plan=[row for row in facts.plan if row.get("tasks", 1)],
        proof=[(name, meaning, facts.certificate[name]) for name, meaning in CERTIFICATE if name in facts.certificate],
        faults=_FAULTS,
        angles=_bars(facts.quality.angles, limit=60),
        wall_angles=_bars(facts.quality.wall_angles, limit=60),
        picture=base64.b64encode(picture_png).decode("ascii"),
        # "<" could close the script element that holds the facts
        facts_json=json.dumps(facts.to_json(), allow_nan=True).replace("<", "\\u003c"),
        largest_time=max((stage.seconds for stage in facts.stages), default=0.0),
    )
    return text


def describe(facts: RunFacts) -> str:
    """Return the report for a terminal, lines of at most about 100 characters."""
    lines = _describe_inputs(facts.inputs)
    lines += [*_describe_result(facts), *_describe_missing(facts), *_describe_proof(facts)]
    return "\n".join([*lines, "", *_describe_stages(facts.stages)])


def certificate_holds(facts: RunFacts) -> bool:
    """Return whether the mesh is proved: no faulty edge, no inverted triangle, the area exact, no tile missing."""
    proof = facts.certificate
    return bool(
        proof
        and not facts.holes
        and all(proof.get(name, 1) == 0 for name in _FAULTS)
        and proof.get("area_exact", False)
    )


def missing_buildings(facts: RunFacts) -> int:
    """Return how many buildings of the domain left no trace in the mesh; those outside of it are not asked for."""
    return sum(facts.outcomes.get(status, 0) for status in _MISSING) - _outside_buildings(facts)


def format_bytes(value: float) -> str:
    """Return bytes for people, in powers of 1000.

    >>> format_bytes(1_500_000_000), format_bytes(20_000)
    ('1.50 GB', '20 kB')
    """
    for unit, size, digits in (("GB", 1e9, 2), ("MB", 1e6, 0), ("kB", 1e3, 0)):
        if value >= size:
            return f"{value / size:.{digits}f} {unit}"
    return f"{value:.0f} B"


def format_count(value: float) -> str:
    """Return a number with groups of three digits.

    >>> format_count(1234567)
    '1,234,567'
    """
    return f"{value:,.0f}"


def format_seconds(value: float) -> str:
    """Return a time for people.

    >>> format_seconds(0.234), format_seconds(75.4), format_seconds(7322)
    ('0.23 s', '1 min 15 s', '2 h 02 min')
    """
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    if value < 3600:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60):02d} min"


def format_value(value: Any, name: str = "") -> str:
    """Return any value of a table cell as text; the name of its column tells bytes and shares.

    >>> format_value(2_000_000, "projected_bytes"), format_value(True), format_value(0.125, "filled_share")
    ('2 MB', 'yes', '12.5 %')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if name == "cell":
        return " x ".join(f"{size:g} m" for size in value)
    if isinstance(value, (list, tuple)):
        return ", ".join(format_value(item) for item in value)
    if not isinstance(value, (int, float)):
        return str(value)
    if name in ("bytes", "size") or name.endswith("_bytes"):
        return format_bytes(value)
    if name.endswith("_share"):
        return f"{100 * value:.1f} %"
    if name.endswith("_ns"):
        return f"{datetime.fromtimestamp(value / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if name.endswith("_m"):
        return f"{value:,.1f} m"
    return format_count(value) if isinstance(value, int) or value == int(value) else f"{value:,.2f}"


def _words(name: str) -> str:
    """Return the name of a column as words, without its unit."""
    return (
        "size"
        if name == "bytes"
        else name.removesuffix("_bytes").removesuffix("_m").removesuffix("_ns").replace("_", " ")
    )


def _share(count: int, total: int) -> str:
    """Return a count with its share of a total.

    >>> _share(41, 138_000), _share(0, 0)
    ('41 of 138,000 (0.030 %)', '0')
    """
    return f"{count:,} of {total:,} ({100 * count / total:.3f} %)" if total else f"{count:,}"


def _verdict(facts: RunFacts) -> str:
    """Return in words whether the mesh is proved, and whether it is a closed volume."""
    if not certificate_holds(facts):
        return "the certificate does not hold"
    rim = facts.certificate.get("rim_length", 0)
    return "watertight up to its outer rim, certificate holds" if rim else "watertight solid, certificate holds"


def _outside_buildings(facts: RunFacts) -> int:
    """Return how many buildings of the inputs lie outside the domain."""
    return sum(entry["count"] for entry in facts.reasons if entry["reason"] == _OUTSIDE)


def _describe_result(facts: RunFacts) -> list[str]:
    verdict = _verdict(facts) if certificate_holds(facts) else _verdict(facts).upper()
    allowed = f", {format_bytes(facts.allowed_memory)} allowed for all" if facts.allowed_memory else ""
    parts = ", ".join(f"{part} {format_count(count)}" for part, count in facts.face_counts.items())
    return [
        f"mesh       {format_count(facts.n_vertices)} vertices, {format_count(facts.n_faces)} faces, {verdict}",
        *([f"faces      {parts}"] if parts else []),
        f"time       {format_seconds(facts.seconds)} with {facts.workers} worker{'' if facts.workers == 1 else 's'}",
        f"memory     at most {format_bytes(facts.peak_memory)} in a worker{allowed}",
    ]


def _describe_inputs(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the input files by role, of many the first ones by name and the rest as a number."""
    lines = []
    for role in dict.fromkeys(entry.get("role", "") for entry in inputs):
        files = [entry for entry in inputs if entry.get("role", "") == role]
        lines += [f"input      {_describe_input(entry)}" for entry in files[:_MOST_FILES]]
        if len(files) > _MOST_FILES:
            size = format_bytes(sum(entry.get("bytes", 0) for entry in files))
            lines.append(
                f"input      {role}: and {len(files) - _MOST_FILES:,} more; {len(files):,} files, {size} in all"
            )
    return lines


def _describe_input(entry: Mapping[str, Any]) -> str:
    hidden = ("role", "path", "hash", "content")
    rest = [f"{_words(name)} {format_value(value, name)}" for name, value in entry.items() if name not in hidden]
    return f"{entry.get('role', '')} {entry.get('path', '')}" + (f" ({', '.join(rest)})" if rest else "")


def _describe_proof(facts: RunFacts) -> list[str]:
    """Return the certificate, the angles and the terrain as one line each."""
    proof, quality = facts.certificate, facts.quality
    faults = ", ".join(f"{proof[name]} {_words(name)}" for name in _FAULTS if name in proof)
    area = "area exact" if proof.get("area_exact") else "AREA NOT EXACT"
    poor = f"{_share(quality.below_angle, sum(quality.angles))} under the asked {quality.asked_angle:g}°"
    terrain = ", ".join(f"{_words(name)} {format_value(value, name)}" for name, value in facts.terrain.items())
    return [
        f"proof      {faults}, {area}" if proof else "proof      NO CERTIFICATE",
        f"angles     {_describe_angles(quality.angles)}; {poor}",
        f"walls      {_describe_angles(quality.wall_angles)}",
        f"terrain    {terrain or 'nothing known'}",
    ]


def _describe_angles(counts: Sequence[int]) -> str:
    """Return the shares of triangles by smallest angle in steps of ten degrees."""
    total = sum(counts)
    if not total:
        return "not measured"
    shares = [100 * sum(counts[low : low + 10]) / total for low in range(0, 60, 10)]
    return ", ".join(f"{10 * i}-{10 * i + 10}° {share:.1f} %" for i, share in enumerate(shares))


def _describe_missing(facts: RunFacts) -> list[str]:
    counts = ", ".join(f"{format_count(count)} {status}" for status, count in facts.outcomes.items())
    lines = [f"buildings  {counts or 'none'}"]
    for entry in facts.reasons:
        examples = ", ".join(map(str, entry.get("examples", ())))
        shown = f" (such as {examples})" if examples else ""
        lines.append(f"  {format_count(entry['count']):>9} {entry['status']}: {entry['reason']}{shown}")
    lines += [f"MISSING TILE  {hole}" for hole in facts.holes]
    lines += [f"split      {describe_split(split)}" for split in facts.splits]
    lines += [f"WARNING    {warning}" for warning in facts.warnings]
    return lines


def describe_split(split: Mapping[str, Any]) -> str:
    """Return a tile that was split as one line.

    >>> describe_split({"tile": 12, "parts": [16, 17, 18, 19]})
    'tile 12 was split into tiles 16, 17, 18, 19: memory was short for it'
    """
    return f"tile {split['tile']} was split into tiles {', '.join(map(str, split['parts']))}: memory was short for it"


def _describe_stages(stages: Sequence[StageFacts]) -> list[str]:
    lines = [f"{'stage':22} {'tasks':>7} {'work':>12} {'wall':>12} {'peak':>9} {'projected':>10} {'written':>9}"]
    for stage in (stage for stage in stages if stage.tasks):
        reused = f"  ({stage.reused} reused)" if stage.reused else ""
        lines.append(
            f"{stage.name:22} {stage.tasks:7d} {format_seconds(stage.seconds):>12} {format_seconds(stage.wall):>12}"
            f" {format_bytes(stage.peak_memory):>9} {format_bytes(stage.projected):>10}"
            f" {format_bytes(stage.bytes_written):>9}{reused}"
        )
    return lines


def _bars(counts: Sequence[int], *, limit: int) -> list[dict[str, float]]:
    """Return the bars of a histogram by whole degree: degree, count, and height as a share of the highest."""
    shown = list(counts[:limit])
    highest = max(shown, default=0)
    if highest == 0:
        return []
    return [{"degree": degree, "count": count, "height": count / highest} for degree, count in enumerate(shown)]
