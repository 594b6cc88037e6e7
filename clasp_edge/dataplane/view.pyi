"""Types of view.pyx as Python sees them."""

from typing_extensions import Buffer

class View:
    def __init__(self, source: Buffer) -> None: ...
