"""Types of scan.pyx as Python sees them."""

from typing_extensions import Buffer

def measure_value(type_code: int, data: Buffer) -> int: ...
