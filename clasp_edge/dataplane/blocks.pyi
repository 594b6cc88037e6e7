"""Types of blocks.pyx as Python sees them."""

class Stream:
    number: int
    base: int
    before: int
    run: int
    flags: int

    @property
    def per_record(self) -> bool: ...
    def __init__(self, per_record: bool, number: int, base: int, before: int, run: int) -> None: ...

class BlockBuffer:
    @property
    def room(self) -> int: ...
    @property
    def used(self) -> int: ...
    def __init__(self, magic: bytes, room: int, largest: int = 0) -> None: ...
    def views(self) -> list[memoryview]: ...
