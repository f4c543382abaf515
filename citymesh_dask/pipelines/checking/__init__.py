"""A finished store is read back and proved."""
