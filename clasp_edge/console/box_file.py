"""The settings of this box for another one, as its own program writes them (image/board/clasp_board/box_file.py).

The program listens on a Unix socket that $CLASP_EDGE_BOX names (image/overlay: clasp-edge-board-box.socket); the router
may not read what it writes it from. Passwords, tokens and private keys are not in it. Elsewhere there is no such file.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

from clasp_edge.console.requests import Refused

VARIABLE = "CLASP_EDGE_BOX"
NAME = "clasp-edge-box.zip"

MAX_BYTES = 2 << 20
"""What a box takes at most."""

TIMEOUT_S = 60.0
"""The program begins when it is asked, on a board with an old card."""

END_OF_ZIP = b"PK\x05\x06"


def possible() -> bool:
    """Whether there is a program that writes it."""
    path = os.environ.get(VARIABLE, "")
    return bool(path) and os.path.exists(path)


async def box_file() -> dict[str, Any]:
    """Its name, and its content in base64. Raises Refused."""
    path = os.environ.get(VARIABLE, "")
    if not possible():
        raise Refused(
            "no-box", "this router is not a box with a card: its settings are in the files of /etc/clasp-edge"
        )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            content = await _read(path)
    except (OSError, TimeoutError) as error:
        raise Refused("no-box", f"the box's program does not answer: {str(error) or type(error).__name__}") from None
    if len(content) > MAX_BYTES or not content.startswith(b"PK") or END_OF_ZIP not in content[-1024:]:
        raise Refused("no-box", "the box's program has failed; its log says why")
    return {"name": NAME, "content": base64.b64encode(content).decode()}


async def _read(path: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        content = b""
        while len(content) <= MAX_BYTES and (piece := await reader.read(65536)):
            content += piece
        return content
    finally:
        writer.close()
