"""What rules have under way over a restart of the router: delays, fades, and conditions that have begun to hold.

Stored as one document beside the journal's log, with every commit after which something is different: what a rule has
done and what it still has to do are stored together. A rule that is not the same any more begins anew, and what it had
under way is named as lost. Time runs on while the router is off, where its clock was set before and after.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from clasp_edge.rules.daytime import Came
from clasp_edge.rules.model import Action, Event
from clasp_edge.rules.values import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clasp_edge.rules.engine import Engine
    from clasp_edge.rules.state import RuleState

log = logging.getLogger("clasp_edge.rules")

NAME = "rules-pending"

MAX_RECORDS = 1000
"""Of what is more, the rest is named as lost: a document is written as a whole."""

MAX_BYTES = 1024 * 1024
"""Of the document."""

MAX_RECORD_BYTES = 6144
"""Of one record: with a larger value that set a rule off, what is under way is not stored."""


class Pending(msgspec.Struct, array_like=True):
    """One thing under way. `kind`: "run" goes on with action `at`, "fade" is of the action with the number `at`, "hold"
    is a condition. `left_s` until it goes on, or ends. `value` and `previous` are empty where there is none."""

    kind: str
    rule: str
    stamp: int
    left_s: float
    at: int
    event_kind: str
    address: str
    value: list[Any]
    previous: list[Any]
    captures: tuple[str, ...]
    faded: str = ""
    begins: Any = None
    ends: Any = None


class Stored(msgspec.Struct, array_like=True):
    """The document. `wall_s` is Unix time when it was made, 0 where the clock was not set."""

    wall_s: float
    pending: list[Pending]
    came: list[Came] = []
    """Times of day that were had, and are not to be made up for."""


class Journal(Protocol):
    """What is needed of the journal."""

    def notes(self) -> Mapping[str, bytes | None]: ...
    def keep_notes(self, source: Callable[[bool], Mapping[str, bytes | None]]) -> None: ...
    def notes_changed(self, urgent: bool) -> None: ...


class PendingStore:
    """Of one engine. `restore` once its rules are loaded."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self._engine = engine
        self._journal = journal
        self._due = False
        self._frozen: bytes | None = None
        self._left_out = False

    def restore(self) -> list[str]:
        """Go on with what is stored. Returns what is lost, in words."""
        stored = self._journal.notes().get(NAME)
        self._journal.keep_notes(self._source)
        if stored is not None or self._engine.days.came():
            self.changed()
        if stored is None:
            return []
        try:
            document = msgspec.msgpack.decode(stored, type=Stored)
        except msgspec.DecodeError:
            return ["what was under way cannot be read"]
        host = self._engine.host
        away_s = max(0.0, host.wall_s() - document.wall_s) if document.wall_s and host.clock_is_set() else 0.0
        return resume(self._engine, document.pending, away_s)

    def changed(self) -> None:
        """Something is under way now that was not, or no more."""
        if not self._due:
            self._due = True
            self._journal.notes_changed(False)

    def freeze(self) -> None:
        """The process stops: what there is now is what is stored, whatever ends from here on."""
        self._frozen = self._document()
        self.changed()

    def _source(self, everything: bool) -> Mapping[str, bytes | None]:
        if not (everything or self._due):
            return {}
        self._due = False
        document = self._frozen if self._frozen is not None else self._document()
        return {NAME: document or None}

    def _document(self) -> bytes:
        host = self._engine.host
        records: list[msgspec.Raw] = []
        taken, left_out = 0, False
        for one in collect(self._engine):
            record = _encoded(one)
            if record is None:
                continue
            taken += len(record)
            left_out = len(records) == MAX_RECORDS or taken > MAX_BYTES
            if left_out:
                break
            records.append(msgspec.Raw(record))
        if left_out and not self._left_out:
            log.warning("rules: more is under way than is stored, %d delays, fades and holds", len(records))
        self._left_out = left_out
        wall_s = host.wall_s() if host.clock_is_set() else 0.0
        came = self._engine.days.came()[:MAX_RECORDS]
        return msgspec.msgpack.encode((wall_s, records, came)) if records or came else b""


def recall_times(engine: Engine, stored: bytes | None) -> None:
    """Have the engine know which times of day were had before this process. Before its rules are loaded."""
    if stored is not None:
        with contextlib.suppress(msgspec.DecodeError):  # `restore` says so
            engine.days.remember(msgspec.msgpack.decode(stored, type=Stored).came)


def _encoded(one: Pending) -> bytes | None:
    """The record; None for one whose values no document holds."""
    try:
        record = msgspec.msgpack.encode(one)
    except (TypeError, ValueError, OverflowError):
        return None
    return record if len(record) <= MAX_RECORD_BYTES else None


def collect(engine: Engine) -> Iterator[Pending]:
    """What is under way."""
    now_s = engine.host.monotonic_s()
    for run in engine.firings.waiting():
        yield from _record("run", run.state, run.event, run.due_s - now_s, run.at)
    for state in engine.states.values():
        for key, (_, event) in state.made("holding").items():
            yield from _record("hold", state, event, state.held_until_s.get(key, now_s) - now_s, 0)
    for state, address, fade in engine.firings.fading():
        for record in _record("fade", state, Event("", "", MISSING, MISSING, 0.0), fade.left_s, fade.number):
            record.faded, record.begins, record.ends = address, fade.begins, fade.ends
            yield record


def resume(engine: Engine, pending: Sequence[Pending], away_s: float) -> list[str]:
    """Let it go on, `away_s` later. Returns what is lost, in words."""
    lost = []
    for one in pending:
        state = engine.states.get(one.rule)
        if state is None or _stamp(state) != one.stamp:
            lost.append(f"rule {one.rule}: {_WORDS.get(one.kind, one.kind)}, the rule is not the same any more")
            continue
        left_s = max(0.0, one.left_s - away_s)
        event = Event(
            one.event_kind, one.address, _value(one.value), _value(one.previous), engine.host.monotonic_s(), 0,
            tuple(one.captures),
        )  # fmt: skip
        if one.kind == "run":
            engine.firings.resume(state, event, one.at, left_s)
        elif one.kind == "hold":
            engine.timing.resume(state, event, left_s)
        elif (action := _action(state.rule.actions, one.at)) is not None:
            engine.firings.resume_fade(state, one.faded, one.begins, one.ends, action, left_s)
    return lost


_WORDS = {"run": "actions after a delay", "hold": "a condition that had begun to hold", "fade": "a fade"}


def _record(kind: str, state: RuleState, event: Event, left_s: float, at: int) -> Iterator[Pending]:
    if _size(event.value) + _size(event.previous) > MAX_RECORD_BYTES:
        return
    yield Pending(
        kind, state.rule.id, _stamp(state), max(0.0, left_s), at, event.kind, event.address, _kept(event.value),
        _kept(event.previous), event.captures,
    )  # fmt: skip


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes) else 0


def _stamp(state: RuleState) -> int:
    """What a rule has to have in common with the one that began something."""
    if state.stamp is None:
        state.stamp = zlib.crc32(repr(state.rule.raw).encode())
    return state.stamp


def _kept(value: Any) -> list[Any]:
    return [] if value is MISSING else [value]


def _value(kept: list[Any]) -> Any:
    return kept[0] if kept else MISSING


def _action(actions: Sequence[Action], number: int) -> Action | None:
    for action in actions:
        if action.kind in ("fade", "scene") and action.number == number:
            return action
        if (found := _action(action.members, number)) is not None:
            return found
    return None
