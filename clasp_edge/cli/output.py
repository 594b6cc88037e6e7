"""What becomes of what a command prints: on terminals without all characters, on a full disk, in a closed pipe."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys

EXIT_NOT_WRITTEN = 4
"""What a command found out could not be printed: the disk is full, or standard output was closed."""

_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})

_ESCAPED = "clasp-edge-escaped"


def prepare() -> None:
    """Have characters that standard output has no bytes for printed as JSON escapes them (\\u00fc), so that JSON stays
    JSON: in a locale without UTF-8, and for what came from arguments that were none."""
    codecs.register_error(_ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


def is_of_output(error: OSError) -> bool:
    """Whether it is about what the command prints: those of files have the file's name."""
    return error.filename is None and error.errno in _FAULTS


def flush() -> None:
    """Write what waits. Raises OSError."""
    if sys.stdout is not None:
        sys.stdout.flush()


def give_up(said: str = "") -> None:
    """Forget what could not be written, so that nothing is said about it at the exit; `said` goes to standard error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if said:
            print(f"clasp-edge: {said}", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except AttributeError:
            pass
