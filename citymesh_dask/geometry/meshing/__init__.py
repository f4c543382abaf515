"""Planar triangles of one tile, and their extrusion to ground, walls and roofs."""
