"""Types of log_scan.pyx as Python sees them."""

from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

from clasp_edge.wire.pattern import Pattern

def select_records(
    source: Buffer, pattern: Pattern, scopes: Any, known: dict[bytes | None, int], first: int, last: int,
    from_us: int, to_us: int, mask: int, limit: int, faults: dict[int, str], resume: list[int] | None = None,
) -> tuple[list[bytes], int]: ...  # fmt: skip
def logged_in(
    source: Buffer, sequence: int, found: list[Any], size: int, limit_records: int, limit_bytes: int,
    faults: dict[int, str], kind: type, message_of: Callable[[bytes, bytes], Any],
    known: dict[bytes, Any] | None = None, wanted: Callable[[bytes], Any] | None = None,
) -> tuple[int, bool]: ...  # fmt: skip
def is_logged_frame(frame: bytes, signal: int) -> bool: ...
def ways_in(source: Buffer) -> list[tuple[bytes, int, bytes]]: ...
