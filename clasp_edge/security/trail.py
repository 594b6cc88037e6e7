"""The trail: who logged in, what was refused, what administrators did. Each event is a line of the log and an entry
that the journal keeps.

The first event of a kind by somebody is told in full; what follows within a minute is counted and told as one line.
Bounded: past `MAX_PER_MINUTE` full entries in a minute, strangers who change their address each time are counted
together. Knows no journal, no session and no socket.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

from clasp_edge.clock import Clock
from clasp_edge.router import access

log = logging.getLogger("clasp_edge.security")

PERIOD_S = 60.0
MAX_KEYS = 1024
MAX_PER_MINUTE = 300
"""Entries told in full: 60 KB of log in a minute at most."""

MOST_TEXT = 256
"""Characters of what a client says about itself or was told."""

QUIET = frozenset({"login"})
"""What is told at level info; all else are warnings."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event as it is kept. `time` in Unix seconds; `count`: how many it stands for."""

    time: float
    event: str
    subject: str = ""
    token: str = ""
    remote: str = ""
    client: str = ""
    target: str = ""
    reason: str = ""
    count: int = 1

    def text(self) -> str:
        """The line of the log."""
        words = [
            f"{name} {value}"
            for name, value in (
                ("subject", self.subject),
                ("token", self.token),
                ("client", repr(self.client) if self.client else ""),
                ("address", self.remote),
                ("at", self.target),
            )
            if value
        ]
        who = ", ".join(words) or "this machine"
        more = f" ({self.count} in the last minute)" if self.count > 1 else ""
        return f"{self.event}: {who}{f': {self.reason}' if self.reason else ''}{more}"


Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Counted:
    """What came within a minute of the entry that was told in full."""

    since_s: float
    last: Entry
    count: int = field(default=0)


class Trail(access.Trail):
    """The trail of one router."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent: OrderedDict[Key, _Counted] = OrderedDict()
        self._window_s = -PERIOD_S
        self._told = 0
        self.entries = 0
        """Entries told since the start."""

    def note(
        self,
        event: str,
        identity: access.Identity | None = None,
        *,
        remote: str = "",
        client: str = "",
        target: str = "",
        reason: str = "",
        count: int = 1,
    ) -> None:
        subject, token = (identity.subject, identity.token_id) if identity is not None else ("", "")
        entry = Entry(
            self._clock.wall_s(), event, _clean(subject), _clean(token), remote, _clean(client), _clean(target),
            _clean(reason), count,
        )  # fmt: skip
        now_s = self._clock.monotonic_s()
        # By host: whoever guesses takes another port each time.
        # What an administrator does at the control socket, which has no port, is told one by one, each with its reason.
        host, _, port = remote.rpartition(":")
        what = f"{entry.target}\0{entry.reason}" if not port.isdigit() else ""
        key = event, token, host or remote, entry.client if token and port.isdigit() else what
        counted = self._recent.get(key)
        if counted is not None and now_s - counted.since_s < PERIOD_S:
            counted.count += count
            counted.last = entry
            return
        if counted is not None:
            self._finish(key, counted)
        if now_s - self._window_s >= PERIOD_S:
            self._window_s, self._told = now_s, 0
        if self._told >= MAX_PER_MINUTE:
            key = event, "", "", ""
            counted = self._recent.get(key)
            if counted is not None:
                counted.count += count
                return
            entry = msgspec.structs.replace(
                entry, subject="", token="", client="", target="", remote="many addresses", reason="counted together"
            )
        self._recent[key] = _Counted(now_s, entry)
        if len(self._recent) > MAX_KEYS:
            self._finish(*self._recent.popitem(last=False))
        self._told += 1
        self._tell(entry)

    def sweep(self, *, everything: bool = False) -> None:
        """Tell what was counted and is a minute old, or `everything`."""
        now_s = self._clock.monotonic_s()
        for key, counted in list(self._recent.items()):
            if everything or now_s - counted.since_s >= PERIOD_S:
                self._finish(key, counted)

    def _finish(self, key: Key, counted: _Counted) -> None:
        self._recent.pop(key, None)
        if counted.count:
            self._tell(msgspec.structs.replace(counted.last, count=counted.count))

    def _tell(self, entry: Entry) -> None:
        self.entries += 1
        log.log(logging.INFO if entry.event in QUIET else logging.WARNING, "%s", entry.text())
        if self.keep is not None:
            self.keep(msgspec.json.encode(entry))


def _clean(text: str) -> str:
    """One line, of bounded length: names and reasons come from outside."""
    return "".join(c if c.isprintable() else "?" for c in text[:MOST_TEXT])
