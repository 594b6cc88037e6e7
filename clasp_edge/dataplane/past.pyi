"""Types of past.pyx as Python sees them."""

from clasp_edge.dataplane.room import Room

class Past(Room):
    def put_right(self) -> None: ...
