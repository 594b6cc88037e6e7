"""File permissions that hold for root as well: in a thread that has given up root's power over files, for good."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_Header = ctypes.c_uint32 * 2
_Data = ctypes.c_uint32 * 6
"""effective, permitted, inheritable of capabilities 0 to 31, then of the others (capget(2))."""

_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def _call(function: str, data: ctypes.Array[ctypes.c_uint32]) -> None:
    if getattr(_libc, function)(_Header(_VERSION_3, 0), data) != 0:
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")


def _give_up() -> None:
    data = _Data()
    _call("capget", data)
    for at in (0, 1):
        data[at] &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    _call("capset", data)


def as_anybody(work: Callable[[], T]) -> T:
    """What `work` returns where files give no more than their modes give to their owner."""
    with ThreadPoolExecutor(1, initializer=_give_up) as pool:
        return pool.submit(work).result()
