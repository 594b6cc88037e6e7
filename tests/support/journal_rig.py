"""A data plane with a journal buffer and a store, driven by hand: what the journal does on threads, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from support.plane_rig import EVERYTHING, Rig

from clasp_edge.dataplane.blocks import Stream
from clasp_edge.dataplane.journal_buffer import JournalBuffer
from clasp_edge.journal.probe import Found, probe
from clasp_edge.journal.restore import finish_restore, restore_params
from clasp_edge.journal.store import Retention, Store
from clasp_edge.wire import ParamValue, Snapshot, decode_payload


class Keeper:
    """The journal's part towards the journal buffer; keeps everything unless `select` is replaced."""

    def __init__(self) -> None:
        self.wakes = 0
        self.fulls = 0

    def select(self, address: bytes) -> int:
        return 3

    def wake(self) -> None:
        self.wakes += 1

    def full(self) -> None:
        self.fulls += 1

    def when_stored(self, then: Callable[[], object]) -> None:
        then()


class Kept:
    """A rig whose plane is kept in `directory`; `settings` are attributes of the plane."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, int] | None = None,
        *,
        strict: bool = False,
        buffer_bytes: int = 1 << 20,
        retention: Retention | None = None,
        history_bytes: int = 0,
    ) -> None:
        self.rig = Rig(history=history_bytes)
        for name, value in (settings or {}).items():
            setattr(self.rig.plane, name, value)
        self.found = Found()
        writers: dict[bytes, int] = {}
        if (directory / "data.mdb").exists():
            self.found = probe(directory, lambda block: self._restored(block, writers))
        finish_restore(self.rig.plane)
        self.store = Store(directory, retention or Retention())
        self.store.run = self.found.run + 1
        self.store.open()
        self.keeper = Keeper()
        found = self.found
        self.journal_buffer: JournalBuffer = self.rig.plane.open_journal_buffer(
            self.keeper, strict, buffer_bytes,
            Stream(True, found.log_number, 0, found.log_before, found.run + 1),
            Stream(False, found.state_number, found.state_base, found.state_before, found.run + 1),
        )  # fmt: skip
        self.journal_buffer.signals = 0x1B

    def _restored(self, block: bytes, writers: dict[bytes, int]) -> None:
        assert restore_params(self.rig.plane, block, writers, False) == 0

    def commit(self) -> bool:
        """One commit; whether there was anything."""
        collected = self.journal_buffer.collect()
        if collected is None:
            return False
        states, logs, _, base = collected
        self.journal_buffer.log.before -= self.store.commit(states, logs, base, time.time_ns() // 1000)
        self.journal_buffer.release(True)
        return True

    def commit_all(self) -> None:
        while self.commit():
            pass

    def params(self) -> dict[str, ParamValue]:
        """What a new client would see."""
        found: dict[str, ParamValue] = {}
        cursor = b""
        while True:
            payload, cursor = self.rig.plane.snapshot(EVERYTHING, None, cursor, 60_000, 1 << 20)
            if payload is not None:
                message = decode_payload(payload)
                assert isinstance(message, Snapshot)
                found.update((param.address, param) for param in message.params)
            if not cursor:
                return dict(sorted(found.items()))

    def close(self) -> None:
        self.rig.plane.close_journal_buffer()
        self.store.close()
        self.rig.close()
