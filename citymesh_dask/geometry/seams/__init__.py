"""What a tile line brings into the mesh: the same points and edges on either side."""
