"""Types of ws_listener.pyx as Python sees them."""

from picows import WSListener

from clasp_edge.transports.websocket import Connection

class ClientListener(WSListener):
    def __init__(self, connection: Connection) -> None: ...
