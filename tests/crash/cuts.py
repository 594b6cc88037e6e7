"""Power cuts below the file system: from a trace of what was written and synced, what a disk may hold afterwards.

At a cut, everything up to the last finished sync is there; of every write since then any sectors may be there and any
may not, in whatever order, and the write under way may be torn. Each such image must open, and hold what had been
acknowledged by then.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from crash.load import Acknowledged, Client, Device
from support.daemon import Daemon

from clasp_edge.journal.format import params
from clasp_edge.journal.probe import probe
from clasp_edge.wire import decode_value

_HEAD = struct.Struct("<QIIQ")
_WRITE, _SYNCED_WRITE, _SYNC, _SYNC_DONE, _TRUNCATE = 1, 2, 3, 4, 5
SECTORS = (512, 4096)

INTERVAL_MS = 10

COLLECTING_S = 0.1
"""Between collecting what a commit has and its first write: a thread is woken and makes checksums."""


@dataclass
class Op:
    """One entry of the trace; `at_s` is the monotonic time before it began."""

    at_s: float
    kind: int
    offset: int
    data: bytes


def record(seconds: float, mode: str, seed: int = 1) -> tuple[bytes, list[Op], Acknowledged]:
    """Run a load; returns the store as it was before, what was done to it, and what was acknowledged when."""
    library = Path(tempfile.mkdtemp(prefix="lossy-")) / "lossy.so"
    source = Path(__file__).with_name("lossy.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    trace = library.with_name("trace")
    sets = {
        "journal.mode": mode,
        "journal.commit_interval_ms": INTERVAL_MS,
        "state.param_ttl_s": 0,
        "log.level": "warning",
    }
    daemon = Daemon(tcp=True, mqtt=True, sets=sets)
    try:
        daemon.start()
        daemon.stop()
        before = (daemon.data_dir / "journal" / "data.mdb").read_bytes()
        os.environ["LD_PRELOAD"], os.environ["LOSSY_TRACE"] = str(library), str(trace)
        try:
            daemon.start()
        finally:
            del os.environ["LD_PRELOAD"], os.environ["LOSSY_TRACE"]
        acknowledged = Acknowledged()
        until_s = time.monotonic() + seconds
        clients: list[Client | Device] = [
            *(Client(daemon, f"client{n}", {}, seed + n) for n in range(2)),
            Device(daemon, "device", {}, seed),
        ]
        threads = [threading.Thread(target=client.run, args=(until_s, acknowledged)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        daemon.kill()
    finally:
        daemon.close()
    data = trace.read_bytes()
    ops, at = [], 0
    while at + _HEAD.size <= len(data):
        ns, kind, size, offset = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        ops.append(Op(ns / 1e9, kind, offset, data[at : at + size]))
        at += size
    return before, ops, acknowledged


class Disk:
    """What is safe on the medium, and what the kernel still holds."""

    def __init__(self, content: bytes) -> None:
        self.safe = bytearray(content)
        self.pending: list[tuple[int, bytes]] = []

    def apply(self, op: Op) -> None:
        if op.kind in (_WRITE, _SYNCED_WRITE):
            self.pending.append((op.offset, op.data))
        elif op.kind == _SYNC_DONE:
            # After a write that syncs itself (offset 1) only that one is safe.
            done, self.pending = (self.pending[-1:], self.pending[:-1]) if op.offset else (self.pending, [])
            for offset, data in done:
                _put(self.safe, offset, data)
        elif op.kind == _TRUNCATE and op.offset < len(self.safe):
            del self.safe[op.offset :]

    def after_cut(self, chance: random.Random) -> bytes:
        """One of the many things that may be on the medium if the power goes now."""
        image = bytearray(self.safe)
        sector = chance.choice(SECTORS)
        kept = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        pieces = [
            (offset + at, data[at : at + sector]) for offset, data in self.pending for at in range(0, len(data), sector)
        ]
        chance.shuffle(pieces)
        for offset, piece in pieces:
            if chance.random() < kept:
                _put(image, offset, piece)
        return bytes(image)


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    image[offset : offset + len(data)] = data


def run(cuts: int, seconds: float, mode: str = "strict", seed: int = 1, *, syncs_work: bool = True) -> int:
    """`cuts` power cuts spread over one load. Returns how many acknowledged writes had to be there.

    With `syncs_work` False the disk lies: nothing is safe until the end. Then losses must be found.
    """
    before, ops, acknowledged = record(seconds, mode, seed)
    assert len(ops) > 20, "the load wrote nothing"
    if not syncs_work:
        ops = [op for op in ops if op.kind != _SYNC_DONE]
    chance = random.Random(seed)
    disk = Disk(before)
    at = sorted(chance.randrange(len(ops)) for _ in range(cuts))
    checked = 0
    begun_s = stored_s = 0.0  # when the commit under way began, and the last one that was finished
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for number, op in enumerate(ops):
            begun_s = begun_s or op.at_s
            # Also in the middle of this operation: it may have reached the medium in part.
            during = Disk(b"")
            while at and at[0] == number:
                del at[0]
                during.safe, during.pending = disk.safe, list(disk.pending)
                if op.kind in (_WRITE, _SYNCED_WRITE) and chance.random() < 0.5:
                    during.pending.append((op.offset, op.data))
                # In `group`, what the last finished commit could not have had may be missing.
                safe_s = op.at_s if mode == "strict" else stored_s - COLLECTING_S
                checked += _check(directory, during.after_cut(chance), safe_s, acknowledged)
            disk.apply(op)
            if op.kind == _SYNC_DONE and op.offset:
                stored_s, begun_s = begun_s, 0.0
    return checked


def _check(directory: Path, image: bytes, safe_s: float, acknowledged: Acknowledged) -> int:
    """The image opens, and has what was acknowledged before `safe_s`; returns how many writes that were."""
    (directory / "data.mdb").write_bytes(image)
    (directory / "lock.mdb").unlink(missing_ok=True)
    found: dict[str, int] = {}

    def on_state(block: bytes) -> None:
        for param in params(block):
            if param.revision:
                value = decode_value(param.value_type, param.data)
                assert isinstance(value, list)
                assert value[0] == param.revision
                found[param.address.decode()] = param.revision

    probe(directory, on_state, thorough_s=60)
    checked = 0
    for address in acknowledged.writes:
        needed = acknowledged.newest(address, safe_s)
        assert found.get(address, 0) >= needed, (
            f"{address} is at {found.get(address, 0)}, {needed} was acknowledged in time"
        )
        checked += sum(1 for _, at_s in acknowledged.writes[address] if at_s < safe_s)
    return checked
