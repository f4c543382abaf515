"""From footprints to cleaned outlines and their pieces."""
