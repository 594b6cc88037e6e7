"""clasp-edge: a CLASP router for single-board computers."""

from clasp_edge.version import __version__

__all__ = ["__version__"]
