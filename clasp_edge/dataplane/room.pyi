"""Types of room.pyx as Python sees them."""

from clasp_edge.dataplane.versions import Versions

class Room(Versions):
    def keep_within(self, at_once: int) -> None: ...
    def lacks_room(self, more: int) -> bool: ...
