"""``citymesh check``: prove from the faces of a store alone that its mesh holds.

The faces are cut into pieces; each is proved by itself (`check_piece`), proofs are added as a tree
(`combine_proofs`), the last one is held against the store's attributes and tables (``check_finish``).
Nothing is believed that the run which made the store wrote down about its mesh. How pieces are read
and reduced belongs here; what a proof is stands in ``geometry.proof``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.plan import Reduction, Stage, Task, TaskCall, numbered_stage
from ...engine.tree import tree_levels
from ...geometry.proof.face_measures import measure_faces
from ...geometry.proof.proof import PieceProof, PieceVertices, combine_proofs, number_piece, prove_piece
from ...outlines import Float64
from ...store.city_store import CityStore, open_store
from ...store.scratch import Scratch
from .finish import finish_check
from .reading import is_solid, read_faces, read_vertices, to_plan
from .report import CheckReport

__all__ = ["check_piece", "check_store", "combine_proofs", "face_pieces", "finish_check", "plan_check"]

PIECE_FACES = 1 << 19
"""Faces of a piece: enough to make its boundary short, few enough for 130 MB."""
PIECE_BYTES_PER_FACE = 120
"""Memory of `check_piece` for each face, beyond one chunk of each array."""
PIECE_BYTES = 64 << 20
"""Memory of `check_piece` for the chunks that it reads from."""


def face_pieces(store: CityStore, piece_faces: int = PIECE_FACES) -> list[tuple[int, int]]:
    """Cut the faces of a store into pieces.

    Whole tiles go together as long as they fit, because what two pieces share is then short; larger
    tiles are cut. What is proved does not depend on where the cuts are.

    Parameters
    ----------
    store : CityStore
        The store.
    piece_faces : int
        Most faces of a piece.

    Returns
    -------
    list of (int, int)
        First and past-the-end face of each piece, ascending, without gaps.
    """
    stops = np.unique(np.clip(store.read("tiles/face_range")[:, 1], 0, store.n_faces)).tolist()
    pieces, start, end = [], 0, 0
    for stop in [*stops, store.n_faces]:
        if stop - start > piece_faces and end > start:
            pieces.append((start, end))
            start = end
        while stop - start > piece_faces:
            pieces.append((start, start + piece_faces))
            start += piece_faces
        end = stop
    return [*pieces, (start, end)] if end > start or not pieces else pieces


def check_piece(path: str | Path, start: int, stop: int) -> PieceProof:
    """Prove the faces ``start`` to ``stop - 1`` of a store.

    Parameters
    ----------
    path : str or Path
        The store.
    start, stop : int
        A piece from `face_pieces`.

    Returns
    -------
    PieceProof
        To be added to those of the other pieces by `combine_proofs`.
    """
    store = open_store(path)
    faces, markers, building = read_faces(store, start, stop)
    piece = number_piece(faces, store.n_vertices)
    plan, z = to_plan(_read_pages(store, piece), store)
    measures = measure_faces(
        piece.faces, markers, building, plan=plan, z=z, n_buildings=store.n_buildings, closed=is_solid(store)
    )
    return prove_piece(piece, measures, start=start)


def _read_pages(store: CityStore, piece: PieceVertices) -> Float64:
    """Return the positions of a piece's vertices, by local number."""
    size = 1 << piece.bits
    wanted = (piece.pages[:, None] * size + np.arange(size)).ravel()
    known = wanted < store.n_vertices  # the last page may reach beyond the last vertex
    positions = np.zeros((len(wanted), 3))
    positions[known] = read_vertices(store, wanted[known])
    return positions


def check_store(path: str | Path, *, fan_in: int = 8, piece_faces: int = PIECE_FACES) -> CheckReport:
    """Check a store piece by piece in this process.

    Parameters
    ----------
    path : str or Path
        The store.
    fan_in : int
        How many proofs are added at a time, at least 2.
    piece_faces : int
        Most faces of a piece.

    Returns
    -------
    CheckReport
        The same for every fan-in and every size of pieces.

    Raises
    ------
    StoreError
        If the path is no city store or a chunk of it is missing or damaged.
    """
    store = open_store(path)
    pieces = face_pieces(store, piece_faces)
    proof = reduce_proofs((check_piece(path, start, stop) for start, stop in pieces), fan_in)
    return finish_check(proof, store, pieces)


def reduce_proofs(proofs: Iterable[PieceProof], fan_in: int) -> PieceProof:
    """Add proofs as a tree while they come, holding fewer than ``fan_in`` of each level.

    Parameters
    ----------
    proofs : iterable of PieceProof
        One or more, neighbours side by side.
    fan_in : int
        How many are added at a time, at least 2.
    """
    waiting: list[list[PieceProof]] = []
    for proof in proofs:
        for level in waiting:
            level.append(proof)
            if len(level) < fan_in:
                break
            proof = combine_proofs(level)
            level.clear()
        else:
            waiting.append([proof])
    rest: list[PieceProof] = []
    for level in waiting:
        rest = [combine_proofs([*level, *rest])] if level else rest
    return rest[0]


def plan_check(path: str | Path, scratch: Scratch, *, fan_in: int = 8, piece_faces: int = PIECE_FACES) -> list[Stage]:
    """Return the stages that check a store as tasks, each leaving its proof in the scratch folder.

    Parameters
    ----------
    path : str or Path
        The store.
    scratch : Scratch
        Where proofs are left for one another, as groups ``proofs/l<level>-<index>``.
    fan_in : int
        How many proofs are added at a time, at least 2.
    piece_faces : int
        Most faces of a piece.

    Returns
    -------
    list of Stage
        The last has one task, ``check_finish-0000``, whose facts are `CheckReport.to_json`.
    """
    count = len(face_pieces(open_store(path), piece_faces))
    where = (str(path), str(scratch.root), piece_faces)
    memory = PIECE_BYTES + PIECE_BYTES_PER_FACE * piece_faces
    leaves = numbered_stage("check_piece", piece_task, count, arguments=where, projected_bytes=memory)
    levels = Reduction(leaves, combine_task, (str(scratch.root),), fan_in, memory).stages("check_merge")
    root = tree_levels(count, fan_in)
    call = TaskCall("check_finish-0000", finish_task, (*where, len(root)))
    last = Task(call, tuple(task.key for task in levels[-1].tasks))
    return [leaves, *levels, Stage("check_finish", (last,), (levels[-1].name,), memory)]


def piece_task(path: str, scratch: str, piece_faces: int, index: int) -> dict[str, Any]:
    """Prove piece ``index`` and write its proof."""
    start, stop = face_pieces(open_store(path), piece_faces)[index]
    return _write_proof(Scratch(Path(scratch)), _proof_name(0, index), check_piece(path, start, stop))


def combine_task(scratch: str, level: int, index: int, children: tuple[int, int]) -> dict[str, Any]:
    """Add the proofs ``children`` (a range) of the level below and write the sum."""
    folder = Scratch(Path(scratch))
    proofs = [_read_proof(folder, _proof_name(level - 1, child)) for child in range(*children)]
    return _write_proof(folder, _proof_name(level, index), combine_proofs(proofs))


def finish_task(path: str, scratch: str, piece_faces: int, level: int) -> dict[str, Any]:
    """Hold the last proof against the store and return the report."""
    store = open_store(path)
    proof = _read_proof(Scratch(Path(scratch)), _proof_name(level, 0))
    return finish_check(proof, store, face_pieces(store, piece_faces)).to_json()


_ARRAYS: tuple[str, ...] = ("vertices", "edges", "follow", "chords", "closed", "suspects")
_ARRAYS += ("flaw_counts", "flaw_faces", "rows", "doubled_roofs")
_NUMBERS = ("n_faces", "n_suspects", "doubled_area")


def _proof_name(level: int, index: int) -> str:
    return f"proofs/l{level}-{index:04d}"


def _write_proof(scratch: Scratch, name: str, proof: PieceProof) -> dict[str, Any]:
    numbers = {key: getattr(proof, key) for key in _NUMBERS}
    scratch.write(name, {key: getattr(proof, key) for key in _ARRAYS}, numbers)
    return {"faces": proof.n_faces, "boundary_edges": len(proof.edges), "suspects": proof.n_suspects}


def _read_proof(scratch: Scratch, name: str) -> PieceProof:
    numbers = scratch.attributes(name)
    fields: dict[str, Any] = {key: scratch.read(name, key) for key in _ARRAYS}
    return PieceProof(**fields, **{key: numbers[key] for key in _NUMBERS})
