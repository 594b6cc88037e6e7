"""What several parties have asked to be called for: one that raises stops none of the others.

A leaf that anybody may import.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVarTuple, Unpack

log = logging.getLogger("clasp_edge")

_Arguments = TypeVarTuple("_Arguments")


def call_each(callbacks: Iterable[Callable[[Unpack[_Arguments]], object]], *arguments: *_Arguments) -> None:
    """Call all of them, in order, with the same arguments. An exception is logged with its callback, and ends with
    it."""
    for callback in callbacks:
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback failed: %s", getattr(callback, "__qualname__", callback))
