"""Levels of the buildings, and the mesh of one tile."""
