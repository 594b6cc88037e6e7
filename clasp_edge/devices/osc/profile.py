"""What one device is configured to, ready to use: where its addresses lie, what it wants, what is an event.

Made of an `[[osc.target]]` or `[[osc.device]]` and of `[osc]`, which says what the device does not. Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clasp_edge.config.model import Osc, OscDevice
from clasp_edge.devices.osc.encode import Encoder
from clasp_edge.devices.osc.outgoing import Outgoing
from clasp_edge.devices.osc.source import IGNORE, RELATIVE, SCHEDULE
from clasp_edge.wire.pattern import Pattern

TIMETAGS = {"schedule": SCHEDULE, "ignore": IGNORE, "relative": RELATIVE}

MAX_REMEMBERED = 8192
"""Addresses of which it is remembered whether they belong to a set; any device can say as many as it likes."""


class AddressSet:
    """The addresses that some patterns match, as they are or below any of the `prefixes`."""

    def __init__(self, patterns: Sequence[Pattern], prefixes: Sequence[bytes] = ()) -> None:
        self._patterns = patterns
        self._prefixes = prefixes
        self._known: dict[bytes, bool] = {}

    def matches(self, address: bytes) -> bool:
        try:
            return self._known[address]
        except KeyError:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            found = self._known[address] = any(self._find(text) for text in self._forms(address))
            return found

    def _forms(self, address: bytes) -> list[bytes]:
        below = [address[len(prefix) :] for prefix in self._prefixes if address.startswith(prefix + b"/")]
        return [address, *below, *(prefix + address for prefix in self._prefixes)]

    def _find(self, address: bytes) -> bool:
        return any(pattern.matches(address) for pattern in self._patterns)


@dataclass(frozen=True)
class Profile:
    """One device, or every device that is not configured."""

    base: bytes
    """What goes before its addresses."""
    outgoing: Outgoing
    events: AddressSet | None
    outside: AddressSet | None
    echo_s: float
    rate: float
    total_rate: float
    bytes_per_second: int
    """0: any."""
    bundle: bool
    initial: bool
    asks: bool
    timetags: int
    messages_per_second: float
    """Below 0: what `[osc]` says at the time."""


def default_profile(osc: Osc, rate: float) -> Profile:
    """Of devices that nothing is configured for."""
    # Who is sent something by its own wish has the rate of subscribers.
    return _profile(osc, OscDevice(name="-", rate=rate, kib_per_second=0))


def profile_of(osc: Osc, device: OscDevice) -> Profile:
    """Of a configured device."""
    return _profile(osc, device)


def _profile(osc: Osc, device: OscDevice) -> Profile:
    namespace = osc.namespace.encode()
    base = namespace + device.prefix.encode()
    encoder = Encoder(
        device.floats or osc.floats,
        device.arrays or osc.arrays,
        [(Pattern(pattern.encode()), kind) for pattern, kind in device.types.items()],
    )
    events = [Pattern(text.encode()) for text in (*osc.events, *device.events)]
    outside = [Pattern(text.encode()) for text in device.outside]
    outside += [pattern for text in device.patterns if _lies_outside(pattern := Pattern(text.encode()), base)]
    echo_ms = osc.echo_ms if device.echo_ms is None else device.echo_ms
    rate = device.messages_per_second
    return Profile(
        base=base,
        outgoing=Outgoing(base, encoder),
        events=AddressSet(events, list({namespace, base})) if events else None,
        outside=AddressSet(outside) if outside else None,
        echo_s=echo_ms / 1000,
        rate=device.rate,
        total_rate=device.total_rate,
        bytes_per_second=device.kib_per_second * 1024,
        bundle=device.bundle,
        initial=device.initial,
        asks=(device.query or osc.query) == "reply",
        timetags=TIMETAGS[device.timetags or osc.timetags],
        messages_per_second=-1.0 if rate is None else float(rate),
    )


def _lies_outside(pattern: Pattern, base: bytes) -> bool:
    """Whether the device is sent whole addresses by this pattern, which it will answer."""
    head = pattern.text.split(b"/")[1]
    return b"*" not in head and not (pattern.text + b"/").startswith(base + b"/") and bool(base)
