"""SIGKILL at random moments under load, start again, compare: `run(kills, mode)`.

In `strict` no acknowledged write is ever missing; in `group` none that was acknowledged longer ago than the interval
and the commit that was under way. No revision goes back behind what an earlier start has shown.
"""

from __future__ import annotations

import random
import threading
import time

from crash.load import Acknowledged, Client, Device, restored
from support.daemon import Daemon

CLIENTS = 3
INTERVAL_MS = 50
COMMIT_S = 0.25
"""What a commit may take here: another process may be writing to the same disk."""


def run(kills: int, mode: str, seed: int = 1) -> int:
    """Returns how many acknowledged writes were looked at. AssertionError for each broken promise."""
    chance = random.Random(seed)
    checked = 0
    sets = {
        "journal.mode": mode,
        "journal.commit_interval_ms": INTERVAL_MS,
        "state.param_ttl_s": 0,
        "log.level": "warning",
    }
    daemon = Daemon(tcp=True, mqtt=True, sets=sets).start()
    try:
        revisions: dict[str, int] = {}
        for kill in range(kills):
            acknowledged = Acknowledged()
            clients: list[Client | Device] = [
                *(Client(daemon, f"client{n}", revisions, chance.randrange(1 << 30)) for n in range(CLIENTS)),
                Device(daemon, "device", revisions, chance.randrange(1 << 30)),
            ]
            until_s = time.monotonic() + 10
            threads = [threading.Thread(target=client.run, args=(until_s, acknowledged)) for client in clients]
            for thread in threads:
                thread.start()
            time.sleep(chance.choice((0.02, 0.1, 0.3)) + chance.random() * 0.1)
            killed_s = time.monotonic()
            daemon.kill()
            for thread in threads:
                thread.join()
            daemon.start()
            found = restored(daemon)
            horizon_s = killed_s - (INTERVAL_MS / 1000 + COMMIT_S) if mode == "group" else time.monotonic()
            for address in set(acknowledged.writes) | set(revisions):
                needed = max(acknowledged.newest(address, horizon_s), revisions.get(address, 0))
                assert found.get(address, 0) >= needed, (
                    f"kill {kill}, {mode}: {address} is at revision {found.get(address, 0)}, {needed} was safe"
                )
            for client in clients:
                for address, sent in client.sent.items():
                    assert found.get(address, 0) <= sent
            checked += sum(map(len, acknowledged.writes.values()))
            revisions = found
        daemon.assert_healthy()
        daemon.stop()
    finally:
        daemon.close()
    return checked
