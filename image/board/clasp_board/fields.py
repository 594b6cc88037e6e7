"""The name of the box and the keys of those who may log in, as somebody has typed them.

Every `read_...` takes a file's text and returns its meaning, or raises ValueError with a sentence that names the line.
Writes nothing and asks nothing of the system.
"""

from __future__ import annotations

import base64
import binascii
import re

from clasp_board.lines import content

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-")


def read_host_name(text: str) -> str:
    """The box's name."""
    lines = list(content(text))
    if len(lines) != 1:
        raise ValueError("only one line with the name is allowed")
    number, line = lines[0]
    name = line.lower().removesuffix(".local")
    if not HOST_NAME.fullmatch(name) or name == "localhost":
        raise ValueError(f'line {number}: "{line}" cannot be a name: 1 to 63 letters a-z, digits and "-", no spaces')
    return name


def read_keys(text: str) -> list[str]:
    """Public keys that may log in, one for each line."""
    keys = []
    for number, line in content(text):
        words = line.split()
        if "PRIVATE KEY" in line:
            raise ValueError(f"line {number}: this is a private key; please take the file whose name ends in .pub")
        at = next((i for i, word in enumerate(words) if word.startswith(KEY_TYPES)), None)
        if at != 0 or len(words) < 2 or not _is_key(words[0], words[1]):
            raise ValueError(f'line {number}: this is not a whole public key ("ssh-ed25519 AAAA... name")')
        keys.append(line)
    return keys


def _is_key(kind: str, encoded: str) -> bool:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] == kind.encode() and len(blob) > 4 + length + 30
