"""Types of summary.pyx as Python sees them."""

from typing_extensions import Buffer

from clasp_edge.wire.pattern import Pattern

CRC_BYTES: int

def summary_of(source: Buffer) -> bytearray | None: ...

class Question:
    def __new__(cls, pattern: Pattern, from_us: int, to_us: int, mask: int) -> Question: ...
    def rules_out(self, source: Buffer, number: int) -> int: ...
