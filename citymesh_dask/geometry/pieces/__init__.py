"""Outlines cut into pieces that no tile cuts again."""
