"""Types of plain_message.pyx as Python sees them."""

SINGLE: int
EXACT: int
DOUBLE: int

def plain_message(
    address: bytes, value_type: int, data: bytes, floats: int, known: bytes | None
) -> tuple[bytes, bytes | None, int, bool] | None: ...
