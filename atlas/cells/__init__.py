"""Cells of a person's own file compared with texts."""
