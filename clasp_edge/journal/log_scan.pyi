"""Types of logscan.pyx as Python sees them."""

from typing import Any

from typing_extensions import Buffer

from clasp_edge.wire.pattern import Pattern

def select_records(
    block: Buffer, pattern: Pattern, scopes: Any, known: dict[bytes, bool], first: int, last: int,
    from_us: int, to_us: int, mask: int, limit: int,
) -> tuple[list[bytes], int]: ...  # fmt: skip
def ways_in(block: Buffer) -> list[tuple[bytes, int, bytes]]: ...
