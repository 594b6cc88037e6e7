"""Runs the blind forwarder: `python serve.py ADDRESS PORT`, with the compiled `forwarder_core` on the path.

Responsible for: the event loop and the listening socket. Must not know: frames.
"""

from __future__ import annotations

import sys

import picows
import uvloop
from forwarder_core import make_peer


async def serve(host: str, port: int) -> None:
    server = await picows.ws_create_server(make_peer, host, port, backlog=1024)
    print(f"ready {host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
