"""A device that is sent values: its subscriptions in the router's trie, how often it is sent what, and what it knows.

A param or a sample may be replaced by a newer one while it waits for its turn; an event may not, and is never told
again.
The device's own values do not come back to it, nor are its repetitions believed (`echo`, `loops`). Knows no sockets:
`link` is the way out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from clasp_edge.dataplane import Plane, Subscription
from clasp_edge.dataplane.account import Holding
from clasp_edge.devices.osc.allowance import DATAGRAM_HEAD_BYTES
from clasp_edge.devices.osc.byte_rate import ByteRate
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.decode import OscError
from clasp_edge.devices.osc.echo import EVENT, EchoMemory, Known, comparable, is_rounded
from clasp_edge.devices.osc.links import Link
from clasp_edge.devices.osc.loops import Loops
from clasp_edge.devices.osc.outgoing import Message
from clasp_edge.devices.osc.profile import Profile
from clasp_edge.devices.osc.rate_limit import Member, Pacer
from clasp_edge.devices.osc.resync import addresses_of, changed_addresses, when_written
from clasp_edge.devices.osc.source import END, HOP, REMOTE, Party, Source
from clasp_edge.devices.osc.telling import Telling
from clasp_edge.router.stored import when_stored
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from clasp_edge.devices.osc.delivery import Delivery
    from clasp_edge.devices.osc.source import Addresses

log = logging.getLogger("clasp_edge.osc")

ALL_SIGNALS = 0x1F

CLOCK_SLACK_US = 1_000_000
"""Before the first value that was let go: the clock may have been set back a little since."""

JUST_SAID_S = 0.1
"""What a device has said so shortly before it is told the state belongs to its coming back; it is not told that."""

CHECK_S = 0.3
"""After something that was not believed: whether what the device has is what the param has. Later than most echoes."""

LOOK_AT_REST_S = 0.1
"""How often it is looked whether a hand on the device rests."""

BURST_S = 0.25
"""Of the bytes it may have each second: a cue goes out at once."""

MAX_HOPPED = 1024
"""Addresses at which a device has answered with a value of its own."""

BUNDLE_BYTES = 1400
"""Of the bundles a device is sent: what fits one frame of the network."""

STATE_BYTES = 8192
"""Of the state, in one turn: what is large takes its time."""

IMMEDIATELY = bytes(7) + b"\x01"

NO_MESSAGE = Message(None)


class Memory(Protocol):
    """How devices have said what the params hold now."""

    def tail_of(self, address: bytes, value_type: int, value: bytes) -> bytes | None: ...


class Target(Party):
    """One device. `link` is None until its address is known. `on_loop(target, address)` tells of a loop over two
    addresses that was broken."""

    def __init__(
        self,
        plane: Plane,
        name: str,
        link: Link | None,
        *,
        loop: AbstractEventLoop,
        telling: Telling,
        profile: Profile,
        loops: Loops,
        spoken: Memory,
        counters: Counters,
        on_loop: Callable[[Target, bytes], None],
    ) -> None:
        self.name = name
        self.link = link
        self.profile = profile
        self.subscriptions: dict[str, Subscription] = {}
        self.told = 0
        """Messages it was sent."""
        self._loop = loop
        self._outgoing = profile.outgoing
        self._loops = loops
        self._spoken = spoken
        self._counters = counters
        self._tell_loop = on_loop
        self._pacer = Pacer(loop, telling.slices, profile.rate, self._send, profile.total_rate, self._given_up)
        self._bytes = ByteRate(profile.bytes_per_second, BURST_S, loop.time)
        self._losses = telling.losses
        self._memory = EchoMemory(profile.rate, profile.echo_s, self._looped)
        self._resyncs = telling.resyncs
        self._fan_out = telling.fan_out
        self._closed = False
        self._untold: Iterator[bytes | None] = iter(())
        self._asked: dict[bytes, Pattern] = {}
        self._all_asked = False
        """Of which patterns it is told the state behind that."""
        self._resync_since_s = 0.0
        self._hinted = False
        """It was said once that what looks like steps of an encoder is taken for echoes."""
        self._failed = False
        """It was said once that it could not be told something."""
        self._missed_us = 0
        self._catch_up: TimerHandle | None = None
        self._awaits_commit = False
        self._resyncs_again = False
        self._state_again: TimerHandle | None = None
        # By address, as `comparable` has them.
        self._unbelieved: dict[bytes, Hashable] = {}
        self._hopped: dict[bytes, Hashable] = {}
        self._check: TimerHandle | None = None
        self._withheld: dict[bytes, None] = {}
        self._rest: TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<OSC device {self.name}>"

    def charge_to(self, holding: Holding) -> None:
        """What is kept for it is on this account from now on; for one that is configured it is on none."""
        self.holding = holding
        self._pacer.holding = self._memory.holding = holding

    # ---- what it gets ----

    def subscribe(self, text: str, pattern: Pattern) -> None:
        """Send what matches from now on. `text` is what the subscription goes by."""
        if text not in self.subscriptions:
            self.subscriptions[text] = Subscription(self, len(self.subscriptions), pattern, ALL_SIGNALS)
            self.plane.trie.add(self.subscriptions[text])

    def unsubscribe(self, text: str) -> None:
        """Stop that, if it was so."""
        subscription = self.subscriptions.pop(text, None)
        if subscription is not None:
            self._asked.pop(subscription.pattern.text, None)
            self.plane.trie.discard(subscription)

    def close(self) -> None:
        """The device is no longer ours to serve."""
        self._closed = True
        for text in list(self.subscriptions):
            self.unsubscribe(text)
        self._untold = iter(())
        self._all_asked = False
        self._fan_out.leave(self)
        self._pacer.close()
        self._loops.gone(self)
        for timer in (self._check, self._rest, self._catch_up, self._state_again):
            if timer is not None:
                timer.cancel()
        self.link = None

    def on_deliveries(self, deliveries: list[Any]) -> None:
        self._fan_out.add(self, deliveries)

    @property
    def events(self) -> Addresses | None:
        """What are events of what it is told, whatever they came as."""
        return self.profile.events

    def outrun(self, since_us: int) -> None:
        """It was not told values that were set since then (Unix microseconds): it is told how they stand soon."""
        if not self._closed:
            self._missed_us = min(self._missed_us or since_us, since_us)
            self._await_rest()

    def lose(self, count: int, address: bytes) -> None:
        """So many events, the first at this address, were lost before it could be told them."""
        self._counters.lost += count
        self._losses.note(self.name, count, address)

    def take(self, deliveries: list[Delivery]) -> None:
        if self._closed:
            return
        now_s = self._loop.time()
        events = self.profile.events
        bundle: list[Member] = []
        of, lasting, sender, size = 0, False, None, 0
        for delivery in deliveries:
            number = delivery.bundle
            if bundle and number != of:
                self._together(bundle, sender, lasting=lasting, size=size)
                bundle, lasting, size = [], False, 0
            address, origin, marks = delivery.address, delivery.origin, delivery.marks
            own = False
            if isinstance(origin, Source):
                own = origin.party is self
                stranger = origin.party is None
            else:
                stranger = True
            is_event = delivery.happens(events)
            if stranger and not is_event and delivery.is_set:
                self._loops.written(
                    address, delivery.known, delivery.frame, now_s, self,
                    remote=bool(marks & REMOTE), answer=bool(marks & HOP), end=bool(marks & END),
                )  # fmt: skip
            if own:
                # Its own value; what was still waiting to go there is older than that.
                if not is_event:
                    self._pacer.forget(address)
                continue
            if marks & HOP and not is_event and self._loops.withholds(address, self, now_s):
                self._withhold(address)
                continue
            item = (delivery, is_event)
            if number:
                bundle.append((address, item))
                of, sender = number, origin
                lasting = lasting or is_event
                size += len(delivery.frame)
            elif is_event:
                self._pacer.event(address, item, origin, len(delivery.frame))
            else:
                self._pacer.offer(address, item, origin, len(delivery.frame))
        if bundle:
            self._together(bundle, sender, lasting=lasting, size=size)

    def forget_old(self, now_s: float) -> None:
        """Let go of what is remembered about addresses at which nothing happens any more."""
        self._memory.forget_old(now_s)
        self._pacer.forget_old(now_s)

    # ---- what it says ----

    def said(self, address: bytes, known: Known | None, *, may_write: bool = True) -> tuple[bool, bool]:
        """One of its sources wrote this (None: an event). Returns whether it is to be ignored, because it only repeats
        what it was told or is part of a loop, and whether it may be an answer to what it was told.

        Not `may_write`: the gate refuses it, so it is no hand whose value ends a loop. An answer is not even refused,
        or the device would be told again, and answer again."""
        if known is not None:
            self._outgoing.said(address, *known)
        now_s = self._loop.time()
        if known is not None and self._memory.repeats(address, known, now_s):
            if self._corrects(address, known):
                return False, True
            self._counters.echoes += 1
            if not self._hinted and self._memory.looks_relative(address):
                self._hinted = True
                log.warning(
                    "OSC %s: repetitions of what it is told at %s are not taken; if that is a button or a relative "
                    "encoder, name it in osc.events",
                    self.name, address[:256].decode("utf-8", "replace"),
                )  # fmt: skip
            self._unbelieve(address, comparable(known))
            return True, False
        answer = self._memory.answers(address, now_s)
        if not may_write:
            if known is None or not answer:
                return False, False
            self._unbelieve(address, comparable(known))
            return True, False
        ignored, hop = self._loops.said(address, self, known, now_s, answer=answer)
        if known is not None:
            if ignored:
                self._unbelieve(address, comparable(known))
            elif hop:
                if len(self._hopped) >= MAX_HOPPED:
                    self._hopped.clear()
                self._hopped[address] = comparable(known)
        return ignored, hop

    def _corrects(self, address: bytes, known: Known) -> bool:
        """Whether a repetition takes back what the device itself has just made of an earlier value: a motor fader that
        reports its steps comes in late, and the last it says is where it is."""
        hopped = self._hopped.pop(address, None)
        if hopped is None:
            return False
        described = self.plane.describe(address)
        return described is not None and comparable(described[1:3]) == hopped and hopped != comparable(known)

    def refresh(self, address: bytes) -> None:
        """Tell it the value as it stands, because its own was refused."""
        if self._wants(address):
            self._offer_current(address)

    def resync(self, only: Pattern | None = None) -> None:
        """Tell it every current value it is subscribed to (or those of one pattern, behind what it is being told), a
        few at a time."""
        if not self.profile.initial:
            return
        if only is None:
            self._untold = iter(())
            self._asked.clear()
            self._all_asked = True
        elif not self._all_asked:
            self._asked[only.text] = only
        if only is None or not (self._awaits_commit or self._resyncs.has(self)):
            self._resync_since_s = self._loop.time() - JUST_SAID_S
        if self._awaits_commit:
            self._resyncs_again = True  # what was said since is in the next one
        else:
            self._awaits_commit = True
            when_stored(self.plane, self._is_stored)

    def _is_stored(self) -> None:
        self._awaits_commit = False
        if self._resyncs_again:
            self._resyncs_again = False
            self._awaits_commit = True
            when_stored(self.plane, self._is_stored)
        else:
            self._resyncs.start(self)

    def tell_some(self, count: int) -> bool:
        if self.link is None:
            return False
        if self._pacer.blocked:
            return True
        events = self.profile.events
        size = 0
        for _ in range(count):
            if size > STATE_BYTES:
                break
            address = next(self._untold, b"")
            if address == b"":
                if not self._begin_asked():
                    return False
                address = next(self._untold, b"")
            if address is None:
                break
            if not address:
                continue  # of that pattern there is nothing
            if events is not None and events.matches(address):
                continue  # it was told when it happened
            if not self._memory.said_since(address, self._resync_since_s):
                size += self._offer_current(address)
        return True

    # ---- inside ----

    def _begin_asked(self) -> bool:
        """Go on with what was asked for behind that; whether there is any, all of it stored."""
        if self._awaits_commit or not (self._all_asked or self._asked):
            return False
        if self._all_asked:
            self._all_asked = False
            patterns = [subscription.pattern for subscription in self.subscriptions.values()]
        else:
            patterns = [self._asked.pop(next(iter(self._asked)))]
        self._untold = addresses_of(self.plane, patterns, self.scopes)
        return True

    def _together(self, bundle: list[Member], sender: object, *, lasting: bool, size: int) -> None:
        values = [member for member in bundle if not member[1][1]] if lasting else ()
        self._pacer.together(bundle, sender, lasting=lasting, values=values, size=size)

    def _await_rest(self) -> None:
        if self._catch_up is None:
            self._catch_up = self._loop.call_later(CHECK_S, self._tell_missed)

    def _tell_missed(self) -> None:
        self._catch_up = None
        if self._resyncs.has(self) or self._awaits_commit:
            self._await_rest()  # behind what it is being told
            return
        since_us, self._missed_us = max(0, self._missed_us - CLOCK_SLACK_US), 0
        self._untold = changed_addresses(self.plane, [s.pattern for s in self.subscriptions.values()], since_us)
        self._resync_since_s = self._loop.time() - JUST_SAID_S
        self._resyncs.start(self)

    def _wants(self, address: bytes) -> bool:
        return any(subscription.pattern.matches(address) for subscription in self.subscriptions.values())

    def _offer_current(self, address: bytes) -> int:
        """How many bytes that are."""
        described = self.plane.describe(address)
        size = 0
        if described is not None and (self.scopes is None or self.scopes.allows("read", address)):
            tail = self._spoken.tail_of(address, described[1], described[2])
            message = self._outgoing.state(address, described[1], described[2], tail)
            size = len(message.packet or b"")
            self._pacer.offer(address, (message, False), None, size)
        return size

    def _send(self, members: Sequence[Member]) -> int:
        """Send these, and return how many the link took; of a CLASP frame what it is as a message."""
        link = self.link
        if link is None:
            return len(members)  # nobody is there yet; it gets the state when it is
        if self.profile.bundle and len(members) > 1:
            return self._send_bundles(link, members)
        for index, member in enumerate(members):
            message = self._message(member)
            packet = message.packet
            if packet is None:
                continue  # OSC has no word for this
            if not self._bytes.has_room() or not link.send(packet):
                return index
            self._bytes.sent(len(packet) + DATAGRAM_HEAD_BYTES)
            self._note(member, message)
        return len(members)

    def _send_bundles(self, link: Link, members: Sequence[Member]) -> int:
        messages = [self._message(member) for member in members]
        start = 0
        while start < len(messages):
            end, size = start, 16
            parts: list[bytes] = []
            while end < len(messages):
                packet = messages[end].packet
                if packet is not None:
                    if parts and size + 4 + len(packet) > BUNDLE_BYTES:
                        break
                    parts.append(len(packet).to_bytes(4, "big") + packet)
                    size += 4 + len(packet)
                end += 1
            if parts:
                if not self._bytes.has_room() or not link.send(b"#bundle\0" + IMMEDIATELY + b"".join(parts)):
                    return start
                self._bytes.sent(size + DATAGRAM_HEAD_BYTES)
            for index in range(start, end):
                if messages[index].packet is not None:
                    self._note(members[index], messages[index])
            start = end
        return len(members)

    def _message(self, member: Member) -> Message:
        address, (what, _) = member
        if b"\0" in address:
            return NO_MESSAGE  # an OSC address would end there, and be another
        if type(what) is Message:
            return what
        try:
            return self._outgoing.delivered(what)
        except Exception:
            # What waits behind it is not to wait for ever.
            self._counters.lost += 1
            if not self._failed:
                self._failed = True
                log.exception("OSC %s: %s could not be told", self.name, address[:256].decode("utf-8", "replace"))
            return NO_MESSAGE

    def _note(self, member: Member, message: Message) -> None:
        """It was told this: what comes back has to be compared with the message as it went out."""
        address, (_, is_event) = member
        self._counters.sent += 1
        self.told += 1
        try:
            value = EVENT if is_event else message.value
        except OscError:
            return
        self._memory.told(address, value, self._loop.time(), self.datagrams)

    def _given_up(self, members: Sequence[Member]) -> None:
        """These could wait no longer: events are lost, params are told as they stand when there is room again."""
        lost = [address for address, item in members if item[1]]
        if lost:
            self.lose(len(lost), lost[0])
        if len(lost) == len(members) or self._closed:
            return
        if not self.profile.initial:
            # Not the state, which it does not want: what was said since, as far as it is not told that anyway.
            for address, item in members:
                if not item[1] and (written_us := when_written(self.plane, address)):
                    self.outrun(written_us)
        elif self._state_again is None:
            self._state_again = self._loop.call_later(CHECK_S, self._tell_state_again)

    def _tell_state_again(self) -> None:
        self._state_again = None
        self.resync()

    def _unbelieve(self, address: bytes, said: Hashable) -> None:
        if len(self._unbelieved) >= MAX_HOPPED:
            self._unbelieved.pop(next(iter(self._unbelieved)))
        self._unbelieved[address] = said
        if self._check is None:
            self._check = self._loop.call_later(max(CHECK_S, self.profile.echo_s), self._compare)

    def _compare(self) -> None:
        """A device that said something and was not believed shall not be left with it."""
        self._check = None
        unbelieved, self._unbelieved = self._unbelieved, {}
        now_s = self._loop.time()
        for address, said in unbelieved.items():
            described = self.plane.describe(address)
            if described is None or not self._wants(address):
                continue
            current = comparable(described[1:3])
            if said == current:
                continue
            asked = self._memory.last_told(address) == current
            if asked and (self._loops.was_broken(address, self) or is_rounded(current, said)):
                continue  # it is its answer to that; to be told it again would begin anew
            if self._loops.withholds(address, self, now_s):
                self._withhold(address)
            elif asked and now_s - self._memory.told_s(address) < self.profile.echo_s:
                self._unbelieve(address, said)  # what it says to the newest is still to come
            else:
                self._offer_current(address)

    def _withhold(self, address: bytes) -> None:
        self._withheld[address] = None
        if self._rest is None:
            self._rest = self._loop.call_later(LOOK_AT_REST_S, self._look_at_rest)

    def _look_at_rest(self) -> None:
        """Where the hand on the device rests, it is told what others have made of its values."""
        self._rest = None
        now_s = self._loop.time()
        for address in [address for address in self._withheld if self._loops.rests(address, self, now_s)]:
            del self._withheld[address]
            if self._wants(address):
                self._offer_current(address)
        if self._withheld:
            self._rest = self._loop.call_later(LOOK_AT_REST_S, self._look_at_rest)

    def _looped(self, address: bytes, until_s: float) -> None:
        self._pacer.postpone(address, until_s)
        self._tell_loop(self, address)
