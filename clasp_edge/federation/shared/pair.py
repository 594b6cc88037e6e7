"""Two hubs that stand in for each other: what one of them confirms, the other one has too.

While both are in step, a confirmation waits until the other router has stored what it is about. Where the other one is
gone, cannot store, or has not caught up yet, this router is alone, says so, and confirms by itself or not at all
(`federation.pair.alone`). Knows the link between them as a `PairLink`, and boxes only by whether they may come.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clasp_edge.callbacks import call_each
from clasp_edge.config import model
from clasp_edge.federation.shared.identity import keep_id, kept_id
from clasp_edge.federation.shared.pair_places import PairPlaces, is_place_of
from clasp_edge.federation.shared.status import Params
from clasp_edge.journal.followed_log import Log
from clasp_edge.wire import FederationOp, FederationSync, encode

if TYPE_CHECKING:
    from clasp_edge.clock import Clock
    from clasp_edge.dataplane import Plane
    from clasp_edge.federation.shared.sender import PeerSender

log = logging.getLogger("clasp_edge.federation")

PATTERNS = ("/**",)
"""What the link between the two carries."""

TAKES_PART, STRICT, WAITS, DIALS = 1, 2, 4, 8
"""In PEER's `pair`: it is one of a pair; its journal is strict; alone it waits; it has a url to dial."""

TICK_S = 0.1
TELL_PLACE_TICKS = 10
"""As much as is said in this time may be told again after the loss of a link."""

RESUME_S = 2.0
"""Without a link for so long, the router that leaves dialling to the other one dials again."""

LONGEST_APART_S = 30.0
"""A box that another hub serves is not taken from there before this router is in step, or was not for so long: then
the other one of the pair is not merely late."""

FILE_NAME = "pair-id"


class PairLink(Protocol):
    """The link, whichever of the two has dialled."""

    dialled: bool
    """By this router."""

    @property
    def sender(self) -> PeerSender: ...

    @property
    def is_settled(self) -> bool:
        """Whether the other router has been told all params."""
        ...

    def say(self, frame: bytes) -> None: ...

    def ask(self) -> None:
        """For a sign of life."""
        ...

    def silent_s(self) -> float:
        """For how long nothing has been heard."""
        ...

    def end_link(self, reason: str) -> None: ...


class _Progress:
    """Of one link. `mark`: where the log ended when nothing waited for the other router any more, and since when
    confirmations wait for it; None before that. `told`: it has everything up to there; `heard`: so has this router."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.mark: int | None = None
        self.told = False
        self.heard = False
        self.stores = True
        self.stored_said = True
        self.asked_s = 0.0
        self.place = 0  # of the other router in our log, as it was last told


class Pair:
    """This router's half. `stores()`: whether its journal is written; `log_end()`: the number of the last record."""

    def __init__(
        self, config: model.Pair, *, strict: bool, router_id: str, data_dir: Path, stores: Callable[[], bool],
        log_end: Callable[[], int], places: PairPlaces, plane: Plane, loop: AbstractEventLoop, clock: Clock,
    ) -> None:  # fmt: skip
        self.config = config
        self.router_id = router_id
        self.other = config.router_id or kept_id(data_dir / FILE_NAME)
        """The id of the other router; "" until it has been here for the first time."""
        self.dial: Callable[[bool], None] | None = None
        """Given by who dials: whether to."""
        self.confirmed_alone = 0
        """Confirmations that the other router does not stand for."""
        self.strict = strict
        self.places = places
        self._data_dir = data_dir
        self._stores = stores
        self._log_end = log_end
        self._loop = loop
        self._clock = clock
        self._links: dict[PairLink, _Progress] = {}
        self._guard: PairLink | None = None
        self._waiting: deque[tuple[int, Callable[[], None], object]] = deque()
        self._apart_since_s = clock.monotonic_s()
        self._since_us = clock.wall_us()
        self._unlinked_s = clock.monotonic_s()
        self._dialling = True
        self._stopping = False
        self._ticks = 0
        self._problem = "the other router has not been here yet"
        self._trouble = ""
        self._params = Params(plane, "pair")
        self._params.open()
        self._state = ""
        self._tell("alone")
        self._tick()

    def stop(self) -> None:
        """The router stops: what waits is confirmed by nobody any more."""
        self._stopping = True

    @property
    def flags(self) -> int:
        """For PEER."""
        waits = WAITS if self.config.alone == "wait" else 0
        return TAKES_PART | (STRICT if self.strict else 0) | waits | (DIALS if self.config.url else 0)

    def carries_whole(self, flags: int) -> bool:
        """Whether all values of params are carried, for one of both confirms them only when both have them."""
        return self.strict or bool(flags & STRICT)

    # ---- who is the other one ----

    def objection(self, router_id: str) -> str | None:
        """Why a router cannot be the other one of the pair; None if it can, and from then on it is."""
        if self.other and router_id != self.other:
            return (
                f"this router's pair is {self.other!r}, not {router_id[:64]!r}: a pair is two routers. Where "
                f"{self.other!r} was replaced, set federation.pair.router_id"
            )
        return None

    def take(self, router_id: str) -> None:
        """It is the other one, to which there is no objection."""
        if router_id != self.other:
            self.other = router_id
            keep_id(self._data_dir / FILE_NAME, router_id)

    # ---- links ----

    def linked(self, link: PairLink, flags: int) -> None:
        """The other router is here. Its states are being compared, or are the same already."""
        self._links[link] = _Progress(flags)
        differ = []
        if bool(flags & STRICT) != self.strict:
            differ.append("journal.mode")
        if bool(flags & WAITS) != (self.config.alone == "wait"):
            differ.append("federation.pair.alone")
        if differ:
            log.warning("the pair's routers are configured differently: %s", ", ".join(differ))
        self._params.write("/clasp-edge/pair/differs", ", ".join(differ))
        self._look()

    def unlinked(self, link: PairLink, reason: str) -> None:
        """The link is gone."""
        if self._links.pop(link, None) is None:
            return
        if not self._links:
            self._unlinked_s = self._clock.monotonic_s()
            self._problem = reason
        self._look()

    def trouble(self, text: str, *, logged: bool = False) -> None:
        """Why a router that should be the other one is not, or another one would be it; the first while there is no
        link. `logged`: the log has it."""
        if not logged and text != self._trouble:
            log.warning("pair: %s", text)
            self._trouble = text
        if not self._links and text != self._problem:
            self._problem = text
            self._tell("alone")

    def said(self, link: PairLink, message: FederationSync) -> None:
        """PAIR, from the other router."""
        progress = self._links.get(link)
        if progress is not None:
            progress.heard = bool(message.revisions.get("told"))
            progress.stores = bool(message.revisions.get("stores"))
            self.places.heard(message.revisions)
            self.places.heard_below(message.revisions, self.other)
            # At once: a hub may be lost within the first second.
            if progress.told and (heard := self.places.all_heard(self.other)):
                link.say(_pair_frame(told=True, stores=progress.stored_said, places=heard))
            self._look()

    def moved(self) -> None:
        """The other router has stored something."""
        if self._waiting:
            self._serve()

    # ---- what waits ----

    def when_there(self, up_to: int, then: Callable[[], None], whose: object = None) -> None:
        """Call `then` when the other router has the log up to this number, or stands for nothing at the moment."""
        if not self._waiting and self._is_there(up_to):
            then()
        else:
            self._waiting.append((up_to, then, whose))

    def forget(self, whose: object) -> None:
        """Whoever waits under this has left."""
        if any(each[2] is whose for each in self._waiting):
            self._waiting = deque(each for each in self._waiting if each[2] is not whose)

    def _is_there(self, up_to: int) -> bool:
        guard = self._guard
        if self._stopping:
            return False
        if guard is None:
            if self.config.alone == "wait":
                return False
            self.confirmed_alone += 1
            return True
        sender = guard.sender
        sender.run()  # what this pass has written is on its way
        return sender.backlog is None or sender.backlog.has(up_to)

    def has_up_to(self, journal: Log) -> int:
        """The number in the log up to which the other router has everything, now or when it was last here."""
        links = [link for link, progress in self._links.items() if progress.told]
        if any(link.sender.backlog is not None and link.sender.backlog.idle for link in links):
            return journal.last_sequence
        places = [place for name, place in journal.cursors().items() if is_place_of(name, self.other)]
        return max(places, default=0)

    def _serve(self) -> None:
        while self._waiting and self._is_there(self._waiting[0][0]):
            call_each((self._waiting.popleft()[1],))

    # ---- how things stand ----

    @property
    def in_step(self) -> bool:
        """Each has what the other one has confirmed."""
        progress = self._links[self._guard] if self._guard is not None else None
        return progress is not None and progress.told and progress.heard

    def not_ready(self, *, served: bool) -> str | None:
        """Why a box should stay where it is, if another hub serves it at the moment."""
        apart_s = self._clock.monotonic_s() - self._apart_since_s
        if not served or self.in_step or apart_s > LONGEST_APART_S:
            return None
        return "not in step with the other router of its pair yet"

    def statistics(self) -> dict[str, object]:
        """For status."""
        return {
            "state": self._state,
            "other": self.other,
            "since": round(self._since_us / 1e6, 3),
            "alone": self.config.alone,
            "waiting": len(self._waiting),
            "confirmed_alone": self.confirmed_alone,
            "problem": self._problem if self._state != "in step" else "",
        }

    def _tick(self) -> None:
        self._loop.call_later(TICK_S, self._tick)
        self._look()
        self._ticks += 1
        if self._ticks % TELL_PLACE_TICKS == 0:
            self._tell_places()
        now_s = self._clock.monotonic_s()
        if self._guard is not None and self._waiting:
            self._watch(self._guard, now_s)
        self._share_dialling(now_s)

    def _tell_places(self) -> None:
        """What the other router has of our log, for its journal to keep, and what is heard here of its own."""
        for link, progress in list(self._links.items()):
            backlog = link.sender.backlog
            if not progress.told or backlog is None:
                continue
            heard = self.places.all_heard(self.other)
            if heard or backlog.acknowledged > progress.place:
                progress.place = max(progress.place, backlog.acknowledged)
                places = self.places.said(progress.place) | heard
                link.say(_pair_frame(told=True, stores=progress.stored_said, places=places))

    def _watch(self, guard: PairLink, now_s: float) -> None:
        """What waits does so for a router that lives."""
        progress = self._links[guard]
        dead_after_s = self.config.dead_after_ms / 1000
        silent_s = guard.silent_s()
        if silent_s < dead_after_s / 4:
            progress.asked_s = 0.0
        elif not progress.asked_s:
            progress.asked_s = now_s
            guard.ask()
        elif silent_s > dead_after_s and now_s - progress.asked_s > dead_after_s / 2:
            reason = f"the other router was silent for {silent_s:.1f} s"
            self.unlinked(guard, reason)
            guard.end_link(reason)

    def _share_dialling(self, now_s: float) -> None:
        """Where both have a url, the lower id dials; the other one only while there is no link."""
        if self.dial is None or not self.other or self.router_id < self.other:
            return
        dialled_to = any(
            progress.told and progress.heard and not link.dialled for link, progress in self._links.items()
        )
        wanted = self._dialling
        if dialled_to:
            wanted = False
        elif not self._links and now_s - self._unlinked_s > RESUME_S:
            wanted = True
        if wanted != self._dialling:
            self._dialling = wanted
            self.dial(wanted)

    def _look(self) -> None:
        """Has anything changed?"""
        stores = self._stores()
        for link, progress in list(self._links.items()):
            backlog = link.sender.backlog
            if progress.mark is None and link.is_settled and link.sender.caught_up:
                progress.mark = self._log_end()
            if not progress.told and progress.mark is not None and backlog is not None and backlog.has(progress.mark):
                progress.told = True
                # With the place: what a kill takes before the first tick that tells it is told again as well.
                progress.place = backlog.acknowledged
                places = self.places.said(progress.place) | self.places.all_heard(self.other)
                link.say(_pair_frame(told=True, stores=stores, places=places))
            elif progress.told and stores != progress.stored_said:
                link.say(_pair_frame(told=True, stores=stores))
            progress.stored_said = stores
        candidates = [link for link, known in self._links.items() if known.mark is not None and known.stores]
        if self._guard not in candidates:
            self._guard = candidates[0] if candidates else None
        if self._links and not self.in_step:
            able = all(progress.stores for progress in self._links.values())
            self._problem = "catching up" if able else "the other router stores nothing (its disk)"
        self._tell("in step" if self.in_step else "catching up" if self._links else "alone")
        self._serve()

    def _tell(self, state: str) -> None:
        if state != self._state:
            self._since_us = self._clock.wall_us()
            if state == "in step":
                log.warning("pair: in step with %s: what is confirmed is at both", self.other)
            elif state == "alone" and self._state:
                what = "goes on" if self.config.alone == "go on" else "confirms nothing"
                log.warning("pair: ALONE, and %s: %s", what, self._problem)
            if self._state == "in step":
                self._apart_since_s = self._clock.monotonic_s()
            self._state = state
            self._params.write("/clasp-edge/pair/since", self._since_us / 1e6)
        self._params.write("/clasp-edge/pair/state", state)
        self._params.write("/clasp-edge/pair/other", self.other)
        self._params.write("/clasp-edge/pair/problem", self._problem if state != "in step" else "")


def uplink_of(config: model.Pair) -> model.Uplink:
    """The link as an uplink: everything is carried, and nobody owns any of it."""
    return model.Uplink(
        url=config.url, token=config.token, wants=PATTERNS, dead_after_ms=config.dead_after_ms,
        queue_mib=config.queue_mib, tls_ca=config.tls_ca, tls_cert=config.tls_cert, tls_key=config.tls_key,
        tls_server_name=config.tls_server_name, tls_pin=config.tls_pin,
    )  # fmt: skip


def _pair_frame(*, told: bool, stores: bool, places: Mapping[str, int] | None = None) -> bytes:
    said = {"told": int(told), "stores": int(stores)} | dict(places or {})
    return encode(FederationSync(FederationOp.PAIR, revisions=said))
