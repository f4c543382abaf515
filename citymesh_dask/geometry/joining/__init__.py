"""Boundaries of tiles, joined along the tree; numbers of shared vertices; sides and base of a solid."""
