"""Options to plan: which tasks a city takes, in which order, and what each of them may need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...engine.machine import Resources
from ...engine.plan import Plan, Reduction, Stage, TaskFunction, numbered_stage
from ...geometry.terrain.terrain import TerrainLattice
from ...options import CityOptions
from ...store.schema import FACE_CHUNK_ROWS
from ...store.scratch import Scratch
from ...tiles import regular_tiling
from . import rehearsal
from .ending import assembly, closing, table
from .ground import ground
from .inputs.survey import Survey
from .job import PARTS_PER_PACK, POINTS_PER_RANGE, CityJob, FootprintRange, PointRange
from .outlines import cleaning, footprints, pieces
from .planning.estimates import automatic_tile_size, estimated_triangles
from .planning.limits import check_cells, check_disks, check_tiles
from .planning.projections import projected_bytes
from .tiles import levels, meshes

COMPILE = "compile_kernels"


def city_job(survey: Survey, options: CityOptions, *, out: Path, scratch: Path, fan_in: int) -> CityJob:
    """Decide everything that the tasks of a run must agree on."""
    n_features = sum(source.n_features for source in survey.footprints)
    triangles = estimated_triangles(survey.domain, survey.outlines, options)
    check_disks(triangles, {"--out": out.parent, "--temp-dir": scratch}, options)
    check_cells(survey.domain, options.terrain_cell)
    chosen = options.tile_size or automatic_tile_size(survey.domain, triangles, options)
    tile_size = chosen if options.use_tiling else None
    check_tiles(survey.domain, tile_size)
    return CityJob(
        scratch=Scratch(scratch),
        out=str(out),
        options=options,
        survey=survey,
        footprint_ranges=_footprint_ranges(survey),
        point_ranges=_point_ranges(survey),
        lattice=_lattice(survey, options),
        tiling=regular_tiling(survey.domain, tile_size),
        n_packs=-(-n_features // PARTS_PER_PACK),
        fan_in=fan_in,
    )


def _footprint_ranges(survey: Survey) -> tuple[FootprintRange, ...]:
    ranges = []
    row = 0
    for index, source in enumerate(survey.footprints):
        for start in range(0, source.n_features, source.features_per_range):
            stop = min(start + source.features_per_range, source.n_features)
            ranges.append(FootprintRange(index, start, stop, row))
            row += stop - start
    return tuple(ranges)


def _point_ranges(survey: Survey) -> tuple[PointRange, ...]:
    return tuple(
        PointRange(index, start, min(start + POINTS_PER_RANGE, source.n_points))
        for index, source in enumerate(survey.points)
        for start in range(0, source.n_points, POINTS_PER_RANGE)
    )


def _lattice(survey: Survey, options: CityOptions) -> TerrainLattice:
    raster = survey.terrain
    if raster is None:
        return TerrainLattice.over_domain(survey.domain, options.terrain_cell)
    x, y = survey.domain.origin
    return TerrainLattice.through_corner(survey.domain, (raster.x0 - x, raster.y0 - y), (raster.dx, raster.dy))


def plan_city(job: CityJob, job_path: str, resources: Resources) -> Plan:
    """Return the stages of a city run in order."""
    call = (job_path,)
    tiles = numbered_stage(
        "mesh_tile",
        meshes.mesh_tile,
        len(job.tiling),
        arguments=call,
        after=(COMPILE, "building_levels", "subdivide_frame", "fill_terrain"),
    )
    merging = Reduction(tiles, meshes.merge_tiles, call, job.fan_in).stages("merge")
    stages = [*_input_stages(job, call), *_outline_stages(job, call), tiles, *merging]
    stages += _output_stages(job, call, last=merging[-1].name)
    return Plan(_with_memory(stages, job), resources.allowed_bytes, resources.n_workers)


def _with_memory(stages: list[Stage], job: CityJob) -> tuple[Stage, ...]:
    """Return the stages with the memory that their tasks are projected to take."""
    sizes = projected_bytes(job)
    names = ["merge" if stage.name.startswith("merge_l") else stage.name for stage in stages]
    return tuple(replace(stage, projected_bytes=sizes[name]) for stage, name in zip(stages, names, strict=True))


def _input_stages(job: CityJob, call: tuple[str]) -> list[Stage]:
    """Return the stages that read footprints, points and rasters."""
    read = numbered_stage("read_footprints", footprints.read_footprints, len(job.footprint_ranges), arguments=call)
    return [_compiling_stage(call), read, *ground.ground_stages(job, call)]


def _compiling_stage(call: tuple[str]) -> Stage:
    """Return the stage that compiles kernels, the longest rehearsals first."""
    stage = numbered_stage(COMPILE, rehearsal.compile_kernels, len(rehearsal.REHEARSALS), arguments=call)
    needs = (tuple(stage.tasks[k].key for k in first) for first in rehearsal.NEEDS)
    return replace(stage, tasks=tuple(replace(task, needs=keys) for task, keys in zip(stage.tasks, needs, strict=True)))


def _outline_stages(job: CityJob, call: tuple[str]) -> list[Stage]:
    """Return the stages from footprints to the subdivided, levelled outlines."""
    packs = job.n_packs

    def stage(name: str, function: TaskFunction, count: int, *after: str) -> Stage:
        return numbered_stage(name, function, count, arguments=call, after=after)

    return [
        stage("link_parts", cleaning.link_parts, cleaning.n_link_cells(job), COMPILE, "roof_evidence"),
        stage("group_parts", cleaning.group_parts, 1, "link_parts"),
        stage("clean_outlines", cleaning.clean_outlines, packs, "group_parts"),
        stage("check_outlines", cleaning.check_outlines, packs, "clean_outlines"),
        stage("settle_outlines", cleaning.settle_outlines, 1, "check_outlines"),
        stage("subdivide_outlines", pieces.subdivide_outlines, packs + 1, "settle_outlines", "fill_terrain"),
        stage("subdivide_frame", pieces.subdivide_frame, 1, "subdivide_outlines"),
        stage("building_levels", levels.building_levels, job.n_row_ranges, "subdivide_outlines"),
    ]


def _output_stages(job: CityJob, call: tuple[str], *, last: str) -> list[Stage]:
    """Return the stages that write the store."""
    triangles = estimated_triangles(job.domain, job.survey.outlines, job.options)
    n_tasks = max(4, round(2 * triangles / FACE_CHUNK_ROWS))  # about one chunk each: as many of vertices as of faces
    close = numbered_stage("close_mesh", closing.close_mesh, 1, arguments=call, after=(last,))
    number = numbered_stage("number_vertices", assembly.number_vertices, 1, arguments=call, after=("close_mesh",))
    assemble = numbered_stage(
        "assemble", assembly.assemble, n_tasks, arguments=(*call, n_tasks), after=("number_vertices",)
    )
    head = numbered_stage("write_table_head", table.write_table_head, 1, arguments=call, after=("building_levels",))
    count = table.n_table_chunks(job)
    rows = numbered_stage("write_table", table.write_table_rows, count, arguments=call, after=(head.name,))
    return [close, number, assemble, head, rows]
