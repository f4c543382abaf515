"""From returns and rasters to the terrain and to the evidence of heights."""
