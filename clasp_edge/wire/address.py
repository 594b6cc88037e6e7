"""Validity of the addresses that SET, PUBLISH and GET name: one signal each, never a pattern.

Knows nothing of matching (pattern.py) nor of which addresses are reserved.
"""

from __future__ import annotations

import re

from clasp_edge.wire.limits import MAX_ADDRESS_BYTES, MAX_ADDRESS_SEGMENTS

_PRINTABLE = re.compile(rb"(?:/[!-)+-.0-~]+)+/?")
"""Nearly all addresses: all rules hold but those of length, at a third of the cost. Without possessive quantifiers:
with them Python 3.11.2 (Debian 12) takes `/a//`."""


class AddressError(ValueError):
    """The address cannot name a signal. The text is a sentence for a person, without the address itself."""


def validate_address(address: bytes) -> None:
    """Return if the address can name one signal, raise AddressError otherwise.

    The rules are those of patterns (wire.md 4.1: `/` in front, only the last segment may be empty), our limits, no NUL
    (OSC ends a text at it and MQTT forbids it: what has it could be told to nobody there), and no `*`: a signal whose
    address reads as a pattern could be subscribed to only together with its neighbours.
    Upstream checks none of this, and ends a connection on what does not begin with ASCII.
    """
    if len(address) <= MAX_ADDRESS_SEGMENTS and _PRINTABLE.fullmatch(address):
        return
    if not address:
        raise AddressError("The address is empty; it must start with '/'.")
    if not address.startswith(b"/"):
        raise AddressError("The address must start with '/'.")
    if len(address) > MAX_ADDRESS_BYTES:
        raise AddressError(f"The address is {len(address)} bytes long; at most {MAX_ADDRESS_BYTES} are allowed.")
    segments = address.count(b"/")
    if segments > MAX_ADDRESS_SEGMENTS:
        raise AddressError(f"The address has {segments} segments; at most {MAX_ADDRESS_SEGMENTS} are allowed.")
    if b"//" in address:
        raise AddressError("The address has an empty segment; only the last one may be empty.")
    if b"\0" in address:
        raise AddressError("The address contains a NUL byte.")
    if b"*" in address:
        raise AddressError("The address contains '*'; only patterns may.")
    try:
        address.decode()
    except UnicodeDecodeError as error:
        raise AddressError(f"The address is not valid UTF-8 at byte {error.start}.") from None
