"""Whether a mesh is closed, from its faces alone, piece by piece."""
