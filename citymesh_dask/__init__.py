"""One watertight city mesh from footprints and LiDAR, larger than memory."""
