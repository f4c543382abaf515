"""Options to plan: which tasks a city takes, in which order, and what each of them may need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...engine.machine import Resources
from ...engine.plan import Plan, Reduction, Stage, TaskCall, TaskFunction, numbered_stage
from ...geometry.terrain.terrain import TerrainLattice
from ...options import CityOptions
from ...store.schema import FACE_CHUNK_ROWS
from ...store.scratch import Scratch
from ...tiles import Tiling
from . import compiling
from .ending import assembly, closing, overview, table
from .ground import ground
from .inputs.survey import Survey
from .job import PARTS_PER_PACK, CityJob, FootprintRange, PointRange
from .outlines import cleaning, footprints, grouping, part_index, pieces
from .planning.choice import LADDER, Sizes
from .planning.costs import estimated_triangles, projected_costs
from .planning.description import plan_facts
from .planning.limits import check_cells
from .planning.projections import projected_bytes
from .planning.quadtree import choose_tiling
from .planning.work import NO_WORK, projected_work
from .tiles import levels, meshes, skipping

COMPILE = "compile_kernels"
_MANY_CHUNKS, _CHUNKS_PER_TASK = 1000, 4
"""A task of assembly writes one chunk of the result, a few one after the other where they are thousands."""


def city_job(
    survey: Survey, options: CityOptions, *, out: Path, scratch: Path, fan_in: int, sizes: Sizes = LADDER[0]
) -> CityJob:
    """Decide everything that the tasks of a run must agree on, with pieces of some sizes."""
    n_features = sum(source.n_features for source in survey.footprints)
    costs = projected_costs(survey.domain, survey.outlines, options)
    check_cells(survey.domain, options.terrain_cell)
    return CityJob(
        scratch=Scratch(scratch),
        out=str(out),
        options=options,
        survey=survey,
        footprint_ranges=_footprint_ranges(survey, sizes.features),
        point_ranges=_point_ranges(survey, sizes.points),
        lattice=_lattice(survey, options),
        tiling=choose_tiling(survey.domain, costs, options, most_triangles=sizes.most_triangles),
        n_packs=-(-n_features // PARTS_PER_PACK),
        fan_in=min(fan_in, sizes.fan_in),
    )


def _footprint_ranges(survey: Survey, most: int) -> tuple[FootprintRange, ...]:
    ranges = []
    row = 0
    for index, source in enumerate(survey.footprints):
        step = min(source.features_per_range, most) if source.seeks else source.features_per_range
        for start in range(0, source.n_features, step):
            stop = min(start + step, source.n_features)
            ranges.append(FootprintRange(index, start, stop, row))
            row += stop - start
    return tuple(ranges)


def _point_ranges(survey: Survey, most: int) -> tuple[PointRange, ...]:
    return tuple(
        PointRange(index, start, min(start + most, source.n_points))
        for index, source in enumerate(survey.points)
        for start in range(0, source.n_points, most)
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
        digits=max(4, len(str(job.tiling.n_positions - 1))),
    )
    tiles = _with_skipped(tiles, job.tiling, call)
    merging = Reduction(tiles, meshes.merge_tiles, call, job.fan_in, beside=job.tiling.descendants()).stages("merge")
    stages = [*_input_stages(job, call), *_outline_stages(job, call), tiles, *merging]
    stages += _output_stages(job, call, last=merging[-1].name)
    projected = _projected(stages, job)
    return Plan(projected, resources.allowed_bytes, resources.n_workers, plan_facts(job, resources, projected))


def _with_skipped(stage: Stage, tiling: Tiling, call: tuple[str]) -> Stage:
    """Return the stage of the tiles in which those that the mesh does without are skipped."""
    tasks = list(stage.tasks)
    for one in tiling.skipped:
        task = tasks[one.tile]
        skip = TaskCall(task.key, skipping.skip_tile, (*call, one.tile, one.cause, one.traced))
        tasks[one.tile] = replace(task, call=skip)
    return replace(stage, tasks=tuple(tasks))


def _projected(stages: list[Stage], job: CityJob) -> tuple[Stage, ...]:
    """Return the stages with the memory that a task is projected to take, and what all of them write and last."""
    sizes, works = projected_bytes(job), projected_work(job)
    merging = sum(len(stage.tasks) for stage in stages if stage.name.startswith("merge_l"))
    found = []
    for stage in stages:
        merges = stage.name.startswith("merge_l")
        name, share = ("merge", len(stage.tasks) / merging) if merges else (stage.name, float(bool(stage.tasks)))
        work = works.get(name, NO_WORK)
        written, seconds = int(work.written_bytes * share), work.seconds * share
        found.append(replace(stage, projected_bytes=sizes[name], written_bytes=written, seconds=seconds))
    return tuple(found)


def _input_stages(job: CityJob, call: tuple[str]) -> list[Stage]:
    """Return the stages that read footprints, points and rasters."""
    read = numbered_stage("read_footprints", footprints.read_footprints, len(job.footprint_ranges), arguments=call)
    located = numbered_stage("index_parts", part_index.index_parts, 1, arguments=call, after=(read.name,))
    return [_compiling_stage(call), read, located, *ground.ground_stages(job, call)]


def _compiling_stage(call: tuple[str]) -> Stage:
    """Return the stage that compiles kernels, two rehearsals at a time."""
    stage = numbered_stage(COMPILE, compiling.compile_kernels, len(compiling.NEEDS), arguments=call)
    needs = (tuple(stage.tasks[k].key for k in first) for first in compiling.NEEDS)
    return replace(stage, tasks=tuple(replace(task, needs=keys) for task, keys in zip(stage.tasks, needs, strict=True)))


def _outline_stages(job: CityJob, call: tuple[str]) -> list[Stage]:
    """Return the stages from footprints to the subdivided, levelled outlines."""
    packs = job.n_packs

    def stage(name: str, function: TaskFunction, count: int, *after: str) -> Stage:
        return numbered_stage(name, function, count, arguments=call, after=after)

    return [
        stage("link_parts", grouping.link_parts, grouping.n_link_cells(job), COMPILE, "index_parts", "roof_evidence"),
        stage("group_parts", grouping.group_parts, 1, "link_parts"),
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
    n_chunks = 2 * triangles / FACE_CHUNK_ROWS  # as many of vertices as of faces
    n_tasks = max(4, round(n_chunks / min(max(n_chunks / _MANY_CHUNKS, 1.0), _CHUNKS_PER_TASK)))
    close = numbered_stage("close_mesh", closing.close_mesh, 1, arguments=call, after=(last,))
    number = numbered_stage("number_vertices", assembly.number_vertices, 1, arguments=call, after=("close_mesh",))
    assemble = numbered_stage(
        "assemble", assembly.assemble, n_tasks, arguments=(*call, n_tasks), after=("number_vertices",)
    )
    head = numbered_stage("write_table_head", table.write_table_head, 1, arguments=call, after=("building_levels",))
    count, skipped = table.n_table_chunks(job), tuple(one.tile for one in job.tiling.skipped)
    rows = numbered_stage(
        "write_table",
        table.write_table_rows,
        count,
        arguments=(*call, skipped),
        after=(head.name, *["mesh_tile"] * bool(skipped)),
    )
    shown = numbered_stage(
        "write_overview", overview.write_overview, overview.n_overviews(job), arguments=call, after=("mesh_tile",)
    )
    return [close, number, assemble, shown, head, rows]
