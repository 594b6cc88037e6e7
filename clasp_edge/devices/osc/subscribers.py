"""Devices that ask: subscriptions by OSC messages, each for a time, after which the device is forgotten.

    /clasp/subscribe    ,s[i[i]]   pattern, seconds, port    the current values, then every change
    /clasp/renew        ,s[i[i]]   pattern, seconds, port    longer, without the current values
    /clasp/unsubscribe  [,s[i[i]]] pattern, anything, port   no more of it; without a pattern, of anything

Numbers may be of any type, for programs that know floats only. Answers are `/clasp/subscribed ,si pattern seconds`,
`/clasp/unsubscribed ,s pattern` and `/clasp/error ,ss address reason`. A pattern is CLASP's (`*` one segment, `**` any
number) below the OSC namespace. Values go to where the message came from, or to the port it names there.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

import msgspec

from clasp_edge.callbacks import call_each
from clasp_edge.config.spelling import foreign_spelling
from clasp_edge.dataplane.account import Account, Holding
from clasp_edge.devices.osc.allowance import Allowance
from clasp_edge.devices.osc.complaints import CONTROL, WITHHELD
from clasp_edge.devices.osc.encode import Encoder
from clasp_edge.devices.osc.links import Link
from clasp_edge.devices.osc.profile import Profile
from clasp_edge.devices.osc.slices import STATE, Slices
from clasp_edge.devices.osc.source import Source
from clasp_edge.devices.osc.target import Target
from clasp_edge.wire import Value
from clasp_edge.wire.pattern import Pattern, PatternError

CONTROL_PREFIX = b"/clasp/"
SUBSCRIBE = b"/clasp/subscribe"
RENEW = b"/clasp/renew"
UNSUBSCRIBE = b"/clasp/unsubscribe"
CONTROLS = frozenset({SUBSCRIBE, RENEW, UNSUBSCRIBE})
"""What is answered. Nothing else is, least of all an answer: two routers would never stop telling each other of it."""

DEFAULT_LEASE_S = 60
MAX_LEASE_S = 3600
MAX_PATTERNS = 64
"""Of one device: far more than a surface has pages."""

LOOPBACK = ("127.0.0.1", "::1")
LOCAL_LEASES = 16
"""A datagram from there comes from this machine, nothing is forged from elsewhere: so many of its programs need not
renew before they are sent everything."""

LOOK_PERIOD_S = 1.0
"""How often it is looked whose time is over, one device after the other in the slices that telling them has."""

WHICH_PORT = "the third argument is the port where the values"

COST = 10
"""What a control message takes of a source's rate: it makes the router sort its subscriptions anew."""


class ControlError(ValueError):
    """The message cannot be followed; the text is for the device's owner."""


@dataclass
class _Lease:
    target: Target
    source: Source
    """Who has asked for it last."""
    key: tuple[str, int]
    link: Link
    packets: int
    sender: tuple[str, int]
    holding: Holding
    shared: bool
    """The target is that of a configured device, which is sent what it has subscribed to beside what it is anyway."""
    hinted: bool = False
    """It was said once that it is sent no more for the present."""
    expires_s: dict[str, float] = field(default_factory=dict)
    patterns: dict[str, Pattern] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether nothing may come of it yet: a configured device is sent without a bound, so that somebody who forges
        its address could have everything sent there. It has to ask once more, as others do for more than an answer."""
        return self.shared and isinstance(self.link, Allowance) and not self.link.source.confirmed

    def subscribe(self, text: str) -> None:
        if self.waits:
            return
        self.target.subscribe(self._name(text), self.patterns[text])

    def unsubscribe(self, text: str) -> None:
        self.target.unsubscribe(self._name(text))

    def _name(self, text: str) -> str:
        """What the subscription goes by among those of the target."""
        return f"subscribed {text}" if self.shared else text


class StoredLease(msgspec.Struct, array_like=True):
    """One subscriber as it is stored: where its values go, the port it sends from, until when it wants what (Unix
    seconds, by pattern), and what is known of its being there (allowance.py)."""

    host: str
    port: int
    sender_port: int
    key: bytes
    confirmed: bool
    received_bytes: int
    answered_bytes: int
    expires: dict[str, float]


class Subscribers:
    """All devices that have subscribed, at most `max_subscribers`. `base_of(source)` goes before the addresses of one,
    `new_target(name, link, source)` makes one, `complain(source, kind, text)` notes it,
    `configured(host, port)` is the target of a configured device there, `link_to(source, port)` the way to it,
    `on_end(target)` is called when it is gone. `charge` and `release` take and give back a subscription's memory
    (`Router.charge_subscription`); `account_of(host)` is whose that is."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        base_of: Callable[[Source], bytes],
        new_target: Callable[[str, Link, Source], Target],
        configured: Callable[[str, int], Target | None],
        link_to: Callable[[Source, int], Link],
        on_end: Callable[[Target], None],
        charge: Callable[[Holding, Pattern], str | None],
        release: Callable[[Holding, Pattern], None],
        account_of: Callable[[str], Account],
        complain: Callable[[Source, str, str], None],
        slices: Slices,
    ) -> None:
        self._loop = loop
        self._slices = slices
        self._base_of = base_of
        self._complain = complain
        self.max_subscribers = 0
        self._new_target = new_target
        self._configured = configured
        self._link_to = link_to
        self._on_end = on_end
        self._charge = charge
        self._release = release
        self._account_of = account_of
        self._leases: dict[tuple[str, int], _Lease] = {}
        self._by_sender: dict[tuple[str, int], Target] = {}
        self._encoder = Encoder()
        self.changed: Callable[[], None] = lambda: None
        """Called when there is something new to store."""
        self._timer: TimerHandle | None = None
        self._controls = 0
        self._controls_in = b"", 0, 0
        self._unseen: list[_Lease] = []
        """Those whose turn to be looked at comes in this second."""

    def __len__(self) -> int:
        return len(self._leases)

    def party_of(self, host: str, port: int) -> Target | None:
        """The subscriber that sends from there, if one does."""
        return self._by_sender.get((host, port))

    def targets(self) -> dict[str, Target]:
        """All subscribers by the `host:port` where their values go, but for configured devices."""
        return {address_text(*lease.key): lease.target for lease in self._leases.values() if not lease.shared}

    def takes_more(self, source: Source, now_us: int) -> bool:
        """Whether one more control message of this packet is looked at. `now_us` is when the pass began."""
        packet = source.key, source.packets, now_us
        self._controls = self._controls + 1 if packet == self._controls_in else 1
        self._controls_in = packet
        if self._controls == MAX_PATTERNS + 1:
            text = f"more than {MAX_PATTERNS} control messages in one packet, more are passed over"
            self._complain(source, CONTROL, text)
        return self._controls <= MAX_PATTERNS

    def handle(self, source: Source, address: bytes, value: Value) -> None:
        """One of the messages in `CONTROLS`, its arguments as a value. Answers, also when it cannot be followed."""
        arguments = value if isinstance(value, list) else [] if value is None else [value]
        try:
            if address in (SUBSCRIBE, RENEW):
                self._subscribe(source, arguments, anew=address == SUBSCRIBE)
            else:
                self._unsubscribe(source, arguments)
        except (ControlError, PatternError) as error:
            self._complain(source, CONTROL, f"{address.decode()} refused: {error}")
            # At the port it names somebody listens, perhaps unlike at the one it sends from.
            for port in {0, _port(arguments) or 0}:
                self._refuse(source, port, address.decode(), str(error))

    def _refuse(self, source: Source, port: int, about: str, reason: str) -> None:
        """Say why not, in as many words as the source may be sent."""
        link = self._link_to(source, port)
        room = link.room if isinstance(link, Allowance) else None
        packet = self._encoder.arguments(b"/clasp/error", (about, reason))
        if room is not None and len(packet) > room:
            reason = reason.encode()[: max(0, len(reason.encode()) - (len(packet) - room))].decode(errors="ignore")
            packet = self._encoder.arguments(b"/clasp/error", (about, reason))
        link.send(packet)

    def ended(self, source: Source) -> None:
        """The way back to this source is gone (a TCP connection)."""
        lease = self._leases.get((source.host, source.port))
        if lease is not None and lease.target is source.party:
            self._drop(lease)

    # ---- over restarts ----

    def stored(self, wall_s: float) -> list[StoredLease]:
        """What is to be known again after a restart: not of connections, which end with the process."""
        found = []
        now_s = self._loop.time()
        for lease in self._leases.values():
            link = lease.link
            if isinstance(link, Allowance):
                expires = {text: wall_s + at_s - now_s for text, at_s in lease.expires_s.items()}
                source = link.source
                found.append(
                    StoredLease(
                        *lease.key, lease.sender[1], source.key, source.confirmed, source.received_bytes,
                        source.answered_bytes, expires,
                    )
                )  # fmt: skip
        return found

    def restore(self, lease: StoredLease, source: Source, wall_s: float) -> None:
        """Go on with what was stored. `source` is made of it."""
        left = {text: at_s - wall_s for text, at_s in lease.expires.items() if 0 < at_s - wall_s <= MAX_LEASE_S}
        if not left or len(self._leases) >= self.max_subscribers:
            return
        entry = self._admit(source, (lease.host, lease.port), lease.port, Holding(self._account_of(lease.host)))
        entry.sender = (lease.host, lease.sender_port)
        for text, left_s in left.items():
            entry.expires_s[text] = self._loop.time() + left_s
            self._want(entry, text, source)
        self._by_sender[entry.sender] = entry.target
        source.party = entry.target
        entry.target.resync()
        self._look_later()

    def join(self, host: str, port: int, target: Target) -> Target | None:
        """The device there is a configured one: what it has subscribed to it is sent as that, not twice.
        Returns what it was sent things as before."""
        lease = self._leases.get((host, port))
        if lease is None or lease.target is target:
            return None
        before = lease.target
        if not lease.shared:
            before.close()
        lease.target, lease.shared = target, True
        for text in lease.expires_s:
            lease.subscribe(text)
        if self._by_sender.get(lease.sender) is before:
            self._by_sender[lease.sender] = target
        return before

    def adapt(self, configure: Callable[[Source], Profile]) -> None:
        """Whoever is configured otherwise by now, or looked up only now, starts anew as that. `configure` has a source
        be what it is, and returns its profile."""
        for lease in list(self._leases.values()):
            if lease.shared:
                continue
            source, before = lease.source, lease.target
            profile = configure(source)
            if before.profile is not profile:
                before.close()
                lease.target = self._new_target(before.name, lease.link, source)
                lease.target.charge_to(lease.holding)
                lease.target.heard_us = before.heard_us
                for text in list(lease.patterns):
                    self._release(lease.holding, lease.patterns.pop(text))
                    self._want(lease, text, source)
                if self._by_sender.get(lease.sender) is before:
                    self._by_sender[lease.sender] = lease.target
                self._on_end(before)
                lease.target.resync()
            lease.target.scopes = source.scopes

    def _want(self, lease: _Lease, text: str, source: Source) -> None:
        """Take up a pattern again, as far as there is room."""
        pattern = Pattern(self._base_of(source) + text.encode())
        if self._charge(lease.holding, pattern) is not None:
            lease.expires_s.pop(text, None)
            return
        lease.patterns[text] = pattern
        lease.subscribe(text)

    def part(self, configured: Collection[Target]) -> None:
        """Forget those who were sent things as a configured device that is one no more: they ask again."""
        for lease in list(self._leases.values()):
            if lease.shared and lease.target not in configured:
                self._drop(lease)

    def expel(self, is_allowed: Callable[[str], bool]) -> None:
        """Forget those whose host may not be here any more."""
        for lease in list(self._leases.values()):
            if not is_allowed(lease.key[0]):
                self._drop(lease)

    def close(self) -> None:
        """Forget everyone."""
        for lease in list(self._leases.values()):
            self._drop(lease)
        self._slices.leave(self, STATE)
        self._unseen.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _subscribe(self, source: Source, arguments: list[Value], *, anew: bool) -> None:
        text, seconds, port = _subscription(arguments)
        pattern = Pattern(self._base_of(source) + text.encode())
        key = (source.host, port or source.port)
        lease = self._leases.get(key)
        known = lease is not None and text in lease.expires_s
        if lease is not None and not known and len(lease.expires_s) >= MAX_PATTERNS:
            raise ControlError(f"at most {MAX_PATTERNS} patterns for one device")
        holding = lease.holding if lease is not None else Holding(self._account_of(source.host))
        if not known and (full := self._charge(holding, pattern)) is not None:
            raise ControlError(f"subscription limit reached ({full})")
        if lease is None:
            lease = self._admit(source, key, port, holding)
        else:
            lease.source = source
            self._confirm(lease, source)
        lease.patterns[text] = pattern
        lease.subscribe(text)
        lease.expires_s[text] = self._loop.time() + seconds
        self._by_sender.pop(lease.sender, None)
        lease.sender = (source.host, source.port)
        self._by_sender[lease.sender] = lease.target
        source.party = lease.target
        lease.target.heard_us = source.heard_us
        self.changed()
        self._answer(lease.link, b"/clasp/subscribed", (text, seconds))
        if (anew or not known) and not lease.waits:
            lease.target.resync(None if len(lease.expires_s) == 1 and not lease.shared else pattern)
        self._look_later()

    def _admit(self, source: Source, key: tuple[str, int], port: int, holding: Holding) -> _Lease:
        self._make_room(holding.account)
        name = source.name if key[1] == source.port else f"{source.name} at port {port}"
        if source.host in LOOPBACK and sum(1 for host, _ in self._leases if host == source.host) < LOCAL_LEASES:
            source.confirmed = True
        link = self._link_to(source, port)
        configured = self._configured(*key)
        target = configured or self._new_target(name, link, source)
        if configured is None:
            target.charge_to(holding)
        lease = _Lease(target, source, key, link, source.packets, key, holding, configured is not None)
        self._leases[key] = lease
        return lease

    def _confirm(self, lease: _Lease, source: Source) -> None:
        """It asks again, by a packet of its own: it is there. What it was not sent until now it is sent."""
        link = lease.link
        if not isinstance(link, Allowance) or (source is link.source and source.packets == lease.packets):
            return
        waited = lease.waits
        source.confirmed = True
        link.source = source
        if waited:
            for text in lease.expires_s:
                lease.subscribe(text)
            lease.target.resync()
        if link.withheld:
            link.withheld = False
            lease.target.resync()

    def _look_whether_there(self, lease: _Lease) -> None:
        """Say it once where somebody is sent no more. Only asking again shows that it was no forgery: what else comes
        from there comes from whoever is there anyway, and may be a surface in whose name somebody else has asked."""
        link = lease.link
        if isinstance(link, Allowance) and link.withheld and not link.source.confirmed and not lease.hinted:
            lease.hinted = True
            self._complain(link.source, WITHHELD, "has asked once; it is sent no more until it sends /clasp/renew")

    def _unsubscribe(self, source: Source, arguments: list[Value]) -> None:
        text = arguments[0] if arguments else None
        if text is not None and not isinstance(text, str):
            raise ControlError("the pattern to unsubscribe is a string")
        port = _port(arguments)
        if port is None:
            raise ControlError(f"{WHICH_PORT} went")
        here = [lease for lease in self._leases.values() if lease.key[0] == source.host]
        if port:
            found = [lease for lease in here if lease.key[1] == port]
        else:
            found = [lease for lease in self._leases.values() if lease.target is source.party]
            if not found and any(text is None or text in lease.expires_s for lease in here):
                # Each message of some tools comes from a port of its own: it would be told of an end that is none.
                raise ControlError(f"nothing is subscribed from this port; {WHICH_PORT} go")
        for lease in found:
            for pattern in [text] if text is not None else list(lease.expires_s):
                self._unsubscribe_one(lease, pattern)
            if not lease.expires_s:
                self._drop(lease)
        self.changed()
        self._answer(self._link_to(source, port), b"/clasp/unsubscribed", (text or "",))

    def _answer(self, link: Link, address: bytes, arguments: tuple[Value, ...]) -> None:
        link.send(self._encoder.arguments(address, arguments))

    def _look(self) -> None:
        self._timer = None
        self._unseen = list(self._leases.values())
        self._slices.want(self, STATE)

    def resume(self) -> bool:
        """Look at one device; whether there are more. Those that have subscribed in one burst end in one, too."""
        if self._unseen:
            call_each([partial(self._look_at, self._unseen.pop(), self._loop.time())])
        self._look_later()
        return bool(self._unseen)

    def _look_later(self) -> None:
        if self._timer is None and not self._unseen and self._leases:
            self._timer = self._loop.call_later(LOOK_PERIOD_S, self._look)

    def _look_at(self, lease: _Lease, now_s: float) -> None:
        if self._leases.get(lease.key) is not lease:
            return
        lease.target.forget_old(now_s)
        self._look_whether_there(lease)
        for text in [text for text, expires_s in lease.expires_s.items() if expires_s <= now_s]:
            self._unsubscribe_one(lease, text)
        if not lease.expires_s:
            self._drop(lease)

    def _make_room(self, account: Account) -> None:
        """When all places are taken: of the host that has most of them the device whose time is over first goes, unless
        that would only turn things round. Raises ControlError."""
        if len(self._leases) < self.max_subscribers:
            return
        held = Counter(lease.holding.account for lease in self._leases.values())
        most, count = held.most_common(1)[0] if held else (account, 0)
        if count <= held[account] + 1:
            raise ControlError(f"{self.max_subscribers} devices have subscribed already, no more are allowed")
        theirs = [lease for lease in self._leases.values() if lease.holding.account is most]
        self._drop(min(theirs, key=lambda lease: max(lease.expires_s.values(), default=0.0)))

    def _unsubscribe_one(self, lease: _Lease, text: str) -> None:
        pattern = lease.patterns.pop(text, None)
        lease.unsubscribe(text)
        if lease.expires_s.pop(text, None) is not None and pattern is not None:
            self._release(lease.holding, pattern)

    def _drop(self, lease: _Lease) -> None:
        if lease.shared:
            for text in lease.expires_s:
                lease.unsubscribe(text)
        else:
            lease.target.close()
        lease.holding.close()
        del self._leases[lease.key]
        if self._by_sender.get(lease.sender) is lease.target:
            del self._by_sender[lease.sender]
        self._on_end(lease.target)


def address_text(host: str, port: int) -> str:
    """`host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _subscription(arguments: list[Value]) -> tuple[str, int, int]:
    """Pattern, seconds, port (0: the sender's). Raises ControlError."""
    text, seconds = [*arguments[:2], None, None][:2]
    if not isinstance(text, str) or not text.startswith("/"):
        raise ControlError('the first argument is a pattern, for example "/fader/**"')
    if (foreign := foreign_spelling(text)) is not None:
        raise ControlError(foreign)
    if seconds is None:
        seconds = DEFAULT_LEASE_S
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 1 <= seconds <= MAX_LEASE_S:
        raise ControlError(f"the second argument is a number of seconds from 1 to {MAX_LEASE_S}")
    port = _port(arguments)
    if port is None:
        raise ControlError(f"{WHICH_PORT} are to go")
    return text, int(seconds), port


def _port(arguments: list[Value]) -> int | None:
    """The port that a control message names, 0 where it names none; None for what is no port."""
    port = arguments[2] if len(arguments) > 2 else None
    if port is None:
        return 0
    if isinstance(port, bool) or not isinstance(port, (int, float)) or not 0 <= port <= 65535 or port != int(port):
        return None
    return int(port)
