"""What the user gave: surveyed by headers, checked, put into one CRS."""
