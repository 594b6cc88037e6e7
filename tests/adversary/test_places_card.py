"""The card is shared: who writes too much keeps nobody else's records out of the log, and no reader holds pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from support.client import TcpClient
from support.console import ask
from support.daemon import Daemon
from support.live import eventually

from clasp_edge import wire
from clasp_edge.journal.tools import log_records
from clasp_edge.wire import SignalType

READERS = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True).readers())"


def journal(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = ask(daemon.control_path, request="status")["result"]["journal"]
    return found


def directory(daemon: Daemon) -> Path:
    return daemon.control_path.parent / "journal"


def logged(daemon: Daemon) -> list[str]:
    """The addresses in the log that is stored."""
    return [str(getattr(wire.decode(record.frame)[1], "address", "")) for record in log_records(directory(daemon))]


def test_who_writes_too_much_is_rationed_and_others_are_not() -> None:
    sets: dict[str, object] = {
        "journal.mode": "group",
        "journal.wear_budget_gb_per_day": 0.001,
        "limits.messages_per_second": 0,
    }
    with Daemon(tcp=True, sets=sets) as daemon:
        with (
            TcpClient(daemon.tcp_address, source="127.0.0.66") as greedy,
            TcpClient(daemon.tcp_address, source="127.0.0.9") as honest,
        ):
            greedy.hello()
            honest.hello()

            def rationed() -> bool:
                for _ in range(10):
                    greedy.send(wire.Publish("/greedy", SignalType.EVENT, value="x" * 60_000))
                greedy.sync()
                return bool(journal(daemon)["rationed_records"])

            eventually(rationed)
            lost = journal(daemon)["lost_records"]  # of the greedy one, where the disk is slow
            for number in range(20):
                honest.send(wire.Publish(f"/honest/{number}", SignalType.EVENT, value=number))
            honest.sync()
            assert journal(daemon)["lost_records"] == lost
        assert "of each client's records at most" in daemon.stderr
        wanted = [f"/honest/{number}" for number in range(20)]
        eventually(lambda: [one for one in logged(daemon) if one.startswith("/honest")] == wanted)


def test_a_reader_of_the_log_that_stops_holds_no_pages() -> None:
    sets: dict[str, object] = {"journal.mode": "group", "limits.messages_per_second": 0}
    with Daemon(tcp=True, sets=sets) as daemon, TcpClient(daemon.tcp_address) as client:
        client.hello()
        for number in range(2000):
            client.send(wire.Publish("/a", SignalType.EVENT, value=f"{number}" + "x" * 2000))
        client.sync()
        eventually(lambda: sum(1 for _ in log_records(directory(daemon))) >= 2000)
        found = log_records(directory(daemon))
        first = next(found)
        told = subprocess.run(
            [sys.executable, "-c", READERS, str(directory(daemon))], check=True, capture_output=True, text=True
        ).stdout
        # A reader that is not in a transaction has no number: nothing is kept for it.
        assert not [line for line in told.splitlines()[1:] if line.split()[-1:] not in ([], ["-"])]
        assert first.number + 1999 == max(record.number for record in found), "and it goes on where it was"
