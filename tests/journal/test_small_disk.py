"""A disk that is really full, or really read-only, while the router runs on it and when it starts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, get, put
from support.small_disk import KINDS, fill, remount, small_disk, why_not

from clasp_edge import wire
from clasp_edge.journal.lock import LOCK_NAME
from clasp_edge.wire import Qos, SignalType

MIB = 4
VALUE = "x" * 3_000


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    reason = why_not(request.param)
    if reason is not None:
        pytest.skip(reason)
    with small_disk(request.param, MIB) as place:
        yield place


def about(client: WsClient, name: str) -> object:
    found = get(client, f"/clasp-edge/journal/{name}")
    return found.value if found is not None else None


def greeted(daemon: Daemon) -> WsClient:
    client = WsClient(daemon.ws_url).hello()
    client.sync()
    return client


def logged(client: WsClient) -> list[str]:
    """The addresses of everything in the log, in order."""
    client.send(wire.Replay(pattern="/**"), Qos.CONFIRM)
    found: list[str] = []
    while True:
        message = client.recv()
        if isinstance(message, wire.Ack):
            return found
        if isinstance(message, wire.Snapshot):
            continue  # a later piece of the greeting: in strict mode it comes when what it shows is stored
        assert isinstance(message, wire.Set | wire.Publish)
        found.append(message.address)


@pytest.mark.parametrize("mode", ["group", "strict"])
def test_a_disk_that_fills_up_in_the_middle_of_a_commit(disk: Path, mode: str) -> None:
    daemon = Daemon(sets={"journal.mode": mode, "data_dir": disk / "data", "journal.commit_interval_ms": 20}).start()
    try:
        expected: list[str] = []
        with greeted(daemon) as writer, greeted(daemon) as reader:
            put(writer, "/before", 1)
            expected.append("/before")
            filler = fill(disk, 20_000)
            # More than there is room for, less than what may wait for the disk in memory.
            for number in range(150):
                # Nobody waits for an answer: in strict mode there is none now.
                writer.send(wire.Set(f"/p/{number % 40}", VALUE), Qos.FIRE)
                writer.send(wire.Publish(address=f"/e/{number}", signal=SignalType.EVENT, value=number), Qos.FIRE)
                expected += [f"/p/{number % 40}", f"/e/{number}"]
            assert eventually(lambda: about(reader, "state") == "memory")
            assert about(reader, "message")
            assert "NOTHING IS STORED" in daemon.stderr
            # The router is a router still.
            writer.send(wire.Set("/during", 2), Qos.FIRE)
            expected.append("/during")
            assert eventually(lambda: get(reader, "/during") is not None)
            filler.unlink()
            assert eventually(lambda: about(reader, "state") == "ok")
            assert "written again" in daemon.stderr
            put(writer, "/after", 3)
            expected.append("/after")
            # Nothing of the log is missing either, not even what the failed commits had.
            assert about(reader, "records_lost") == 0
            assert logged(reader) == expected
        daemon.assert_healthy()
        if mode == "group":
            daemon.stop()
        else:
            daemon.kill()
        daemon.start()
        with greeted(daemon) as client:
            found = [get(client, address) for address in ("/before", "/during", "/after")]
            assert [param.value if param else None for param in found] == [1, 2, 3]
            assert logged(client) == expected
    finally:
        daemon.close()


def test_a_full_disk_keeps_nobody_from_reading(disk: Path) -> None:
    with Daemon(sets={"journal.mode": "strict", "data_dir": disk / "data"}) as daemon:
        with greeted(daemon) as writer, greeted(daemon) as reader:
            put(writer, "/p", 1)
            filler = fill(disk, 0)
            writer.send(wire.Set("/p", VALUE * 8))
            # On the connection whose ACK waits as well.
            for client in (reader, writer, reader, writer):
                found = get(client, "/p")
                assert found is not None
                assert found.value == VALUE * 8
            assert eventually(lambda: about(reader, "state") == "memory")
            writer.send(wire.Ping())
            writer.recv_type(wire.Pong)
            filler.unlink()
            writer.recv_until(wire.Ack, 20)
            assert eventually(lambda: about(reader, "state") == "ok")
        daemon.kill()
        daemon.start()
        with greeted(daemon) as client:
            found = get(client, "/p")
            assert found is not None
            assert found.value == VALUE * 8


def test_a_store_that_is_removed_from_a_disk_that_is_full_again_at_once(disk: Path) -> None:
    """LMDB writes to its table of readers through a map: without room for that the process would be no more."""
    with Daemon(sets={"journal.mode": "group", "data_dir": disk / "data", "journal.commit_interval_ms": 10}) as daemon:
        with greeted(daemon) as client:
            put(client, "/before", 1)
            shutil.rmtree(disk / "data" / "journal")
            put(client, "/after", 2)
            assert eventually(lambda: about(client, "state") == "memory")
            filler = fill(disk, 0)
            time.sleep(2.5)  # longer than until it is tried again
            assert get(client, "/after") is not None
            assert about(client, "state") == "memory"
            filler.unlink()
            assert eventually(lambda: about(client, "state") == "ok")
        daemon.restart()
        with greeted(daemon) as client:
            assert all(get(client, address) is not None for address in ("/before", "/after"))


@pytest.mark.parametrize("mode", ["group", "strict"])
def test_a_full_disk_at_the_start(disk: Path, mode: str) -> None:
    daemon = Daemon(sets={"journal.mode": mode, "data_dir": disk / "data"})
    try:
        daemon.start()
        with greeted(daemon) as client:
            put(client, "/old", 1)
        daemon.stop()
        (disk / "data" / LOCK_NAME).unlink()  # so that there is no room for as much as the process id
        filler = fill(disk, 0)
        daemon.start()
        with greeted(daemon) as client, greeted(daemon) as reader:
            # What was stored is there, whether or not it could be opened for writing.
            assert get(client, "/old") is not None
            client.send(wire.Set(address="/new", value=VALUE * 8))
            if mode == "group":
                client.recv_type(wire.Ack)
            assert eventually(lambda: about(reader, "state") == "memory")
            filler.unlink()
            if mode == "strict":  # now what was said meanwhile is stored too
                client.recv_until(wire.Ack, 20)
            assert eventually(lambda: about(reader, "state") == "ok")
        daemon.stop()
        assert not list((disk / "data").glob("journal.*"))
        daemon.start()
        with greeted(daemon) as client:
            assert get(client, "/old") is not None
            assert get(client, "/new") is not None
    finally:
        daemon.close()


@pytest.mark.parametrize("mode", ["group", "strict"])
def test_a_read_only_disk_at_the_start(disk: Path, mode: str) -> None:
    daemon = Daemon(sets={"journal.mode": mode, "data_dir": disk / "data"})
    second = Daemon(sets={"journal.mode": mode, "data_dir": disk / "data"})
    try:
        daemon.start()
        with greeted(daemon) as client:
            put(client, "/old", 1)
        daemon.stop()
        remount(disk, "ro")
        daemon.start()
        assert "IN MEMORY ONLY" in daemon.stdout
        with greeted(daemon) as client:
            assert get(client, "/old") is not None
            client.send(wire.Set("/new", 2))
            if mode == "group":
                client.recv_type(wire.Ack)
            assert get(client, "/new") is not None
            assert about(client, "state") == "memory"
            remount(disk, "rw")
            if mode == "strict":
                client.recv_until(wire.Ack, 20)
            assert eventually(lambda: about(client, "state") == "ok")
        # By now the directory is taken, though it could not be at the start.
        with pytest.raises(AssertionError, match=f"process {daemon.pid}"):
            second.start()
        daemon.kill()
        daemon.start()
        with greeted(daemon) as client:
            assert get(client, "/old") is not None
            assert get(client, "/new") is not None
    finally:
        daemon.close()
        second.close()
