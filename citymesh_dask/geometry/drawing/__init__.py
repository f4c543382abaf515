"""Pictures of a mesh, drawn in pieces without any library for graphics."""
