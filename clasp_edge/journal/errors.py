"""What can go wrong with a store, as the rest of the journal tells it apart, and in whose words."""

from __future__ import annotations

import lmdb

DAMAGE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.BadTxnError,
)
"""What LMDB raises for a file that is not as it should be, in releases old and new."""


class Damaged(Exception):
    """The store cannot be used as it is; the text says why."""


class TooNew(Damaged):
    """The store was written by a later version."""


class Unavailable(Exception):
    """The store cannot be written or opened now: disk full, read-only, not ours. The text says which."""


def reason(error: Exception) -> str:
    """LMDB's or the system's words for what went wrong, without the function's name that LMDB puts before them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    return text.rpartition(": ")[2] or text
