"""Types of socket_input.pyx as Python sees them."""

from clasp_edge.dataplane.account import Holding
from clasp_edge.devices.mqtt.input_buffer import InputBuffer
from clasp_edge.devices.mqtt.session import Session

LARGE_REST_BYTES: int

class ReadBuffer:
    def __init__(self, size: int) -> None: ...

class SocketInput:
    session: Session | None
    holding: Holding | None
    input: InputBuffer | None
    closing: bool
    awaits_login: bool
    local: bool
    missing: int

    def __init__(self, shared: ReadBuffer) -> None: ...
    @property
    def rest(self) -> bytes: ...
    @rest.setter
    def rest(self, rest: bytes) -> None: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def await_rest(self) -> None: ...
