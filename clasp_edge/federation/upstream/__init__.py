"""Uplinks: this router as a client of a larger one."""
