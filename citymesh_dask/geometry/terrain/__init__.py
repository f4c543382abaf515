"""The ground as a raster: sums of returns, filling of voids, heights of roofs."""
