"""Cleaning of groups of footprints: from overlapping polygons to labelled planar graphs.

The order of the steps, what becomes of each polygon, and what is done where a step fails belong here;
the steps themselves are in the modules beside this one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from ...outlines import BEYOND, GROUND, Int8, Int64, Outlines, Parts
from ...tiles import OUTLINE_UNITS, Box
from .chamfer import chamfer_groups
from .checking import find_defects
from .fates import trace_fates
from .graphs import planar_groups
from .linking import part_boxes
from .merging import merge_neighbours, take_parts
from .regions import COVERED, MERGED, MESHED, SMALL, THIN, UNCLEANABLE
from .simplifying import doubled_areas, simplify_parts
from .tidying import edges_on_frame

