"""How large everything will be: triangles, tiles, memory, room on disk."""
