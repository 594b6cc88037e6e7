"""Whatever is wrong with the disk or the store, the box runs, says so, and overwrites nothing that might be wanted."""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from support.client import WsClient
from support.daemon import PROJECT_ROOT, Daemon
from support.live import eventually, get, put
from support.mqtt_client import Broker
from support.mqtt_packets import V311

from clasp_edge import wire

COUNT = 200


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Has run, kept `COUNT` params, and been stopped."""
    daemon = Daemon(sets={"journal.mode": "group", "journal.commit_interval_ms": 10}).start()
    try:
        with WsClient(daemon.ws_url).hello() as client:
            for number in range(COUNT):
                put(client, f"/p/{number}", f"value {number}" * 20)
        daemon.stop()
        yield daemon
    finally:
        daemon.close()


def store(daemon: Daemon) -> Path:
    return daemon.data_dir / "journal" / "data.mdb"


def aside(daemon: Daemon) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in daemon.data_dir.glob("journal.*"))


def state(client: WsClient) -> tuple[object, object]:
    found = [get(client, f"/clasp-edge/journal/{name}") for name in ("state", "message")]
    assert all(found)
    return found[0].value, found[1].value  # type: ignore[union-attr]


def works(daemon: Daemon) -> int:
    """Start; a write must be kept over another start. Returns how many of the params are there."""
    daemon.start()
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        there = sum(get(client, f"/p/{number}") is not None for number in range(COUNT))
        assert state(client)[0] == "ok"
        put(client, "/new", "kept")
    daemon.stop()
    daemon.start()
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        assert get(client, "/new").value == "kept"  # type: ignore[union-attr]
    daemon.stop()
    return there


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def cut_to_one_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4096)


def zero_the_trees(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = 2 * 4096
    while at < len(data):
        pages = 1
        if data[at + 10] & 4:  # an overflow page: a long value, which goes on in the pages after it
            pages = int.from_bytes(data[at + 12 : at + 16], "little")
        else:
            data[at : at + 4096] = bytes(4096)
        at += pages * 4096
    path.write_bytes(data)


def foreign_text(path: Path) -> None:
    path.write_bytes(b"this is somebody's letter\n" * 1000)


def foreign_lmdb(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    with lmdb.open(str(path.parent)) as env, env.begin(write=True) as txn:
        txn.put(b"somebody", b"else")


def newer(path: Path) -> None:
    with lmdb.open(str(path.parent)) as env, env.begin(write=True) as txn:
        txn.put(b"\x00schema", json.dumps({"schema": 99}).encode())


@pytest.mark.parametrize(
    ("harm", "saved", "name"),
    [
        (truncate, None, "journal.damaged"),
        (cut_to_one_page, 0, "journal.damaged"),
        (zero_the_trees, None, "journal.damaged"),
        (foreign_text, 0, "journal.damaged"),
        (foreign_lmdb, 0, "journal.damaged"),
        (newer, 0, "journal.newer"),
    ],
)
def test_a_store_that_cannot_be_used_is_moved_aside(
    daemon: Daemon, harm: Callable[[Path], None], saved: int | None, name: str
) -> None:
    harm(store(daemon))
    harmed = store(daemon).read_bytes()
    there = works(daemon)
    if saved is not None:
        assert there == saved
    assert aside(daemon) == [name]
    (moved,) = daemon.data_dir.glob("journal.*")
    kept = (moved / "data.mdb").read_bytes()
    assert kept[: len(harmed)] == harmed


def test_overwritten_trees_still_give_the_params_back(daemon: Daemon) -> None:
    daemon.start()
    daemon.stop()
    zero_the_trees(store(daemon))
    # Blocks of more than half a page lie in pages of their own, the trees around them are gone.
    assert works(daemon) > 0


def test_flipped_bits_never_stop_the_box(daemon: Daemon) -> None:
    good = store(daemon).read_bytes()
    chance = random.Random(4)
    for _ in range(5):
        data = bytearray(good)
        for _ in range(12):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        store(daemon).parent.mkdir(exist_ok=True)
        store(daemon).write_bytes(data)
        daemon.start()
        with WsClient(daemon.ws_url).hello() as client:
            client.sync()
            put(client, "/after", 1)
            for number in range(COUNT):
                found = get(client, f"/p/{number}")
                assert found is None or found.value == f"value {number}" * 20
        daemon.assert_healthy()
        daemon.stop()


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(daemon: Daemon) -> None:
    daemon.start()
    second = subprocess.run(
        [sys.executable, "-m", "clasp_edge", "run", "--set", "websocket.listen=127.0.0.1:0", "--set", "mqtt.listen=off",
         "--set", "osc.listen=off", "--set", f"data_dir={daemon.data_dir}"],
        capture_output=True, text=True, timeout=20, cwd=PROJECT_ROOT, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert second.stdout == ""
    assert f"process {daemon.pid}" in second.stderr
    daemon.assert_healthy()
    daemon.stop()


def test_a_directory_that_cannot_be_made_is_no_reason_not_to_run() -> None:
    with Daemon(sets={"journal.mode": "group", "data_dir": "/proc/nowhere/data"}) as daemon:
        assert "IN MEMORY ONLY" in daemon.stdout
        assert "NOTHING IS STORED" in daemon.stderr
        with WsClient(daemon.ws_url).hello() as client:
            client.sync()
            put(client, "/a", 1)
            assert state(client)[0] == "memory"


@pytest.mark.parametrize("what", ["file", "directory"])
@pytest.mark.parametrize("mode", ["group", "strict"])
def test_a_store_that_is_removed_while_the_router_runs_is_made_anew(mode: str, what: str) -> None:
    """Somebody has cleaned up: what is written to a file without a name would be gone with the process."""
    with Daemon(mqtt=True, sets={"journal.mode": mode, "journal.commit_interval_ms": 10}) as daemon:
        broker = Broker(daemon.mqtt_address)
        sleeper = broker.client(V311, "sleeper", clean=False)
        sleeper.subscribe("cue/#", options=1)
        broker.leave()
        with WsClient(daemon.ws_url).hello() as client:
            client.sync()
            put(client, "/before", 1)
            time.sleep(0.2)
            if what == "file":
                store(daemon).unlink()
            else:
                shutil.rmtree(daemon.data_dir)
            put(client, "/after", 2)
            assert eventually(store(daemon).exists)
            put(client, "/later", 3)
            assert eventually(lambda: state(client)[0] == "ok")
        assert "data.mdb was removed" in daemon.stderr
        # Nobody else writes to it either.
        second = Daemon(sets={"journal.mode": mode, "data_dir": daemon.data_dir})
        with pytest.raises(AssertionError, match=f"process {daemon.pid}"):
            second.start()
        second.close()
        daemon.stop()
        daemon.start()
        with WsClient(daemon.ws_url).hello() as client:
            client.sync()
            assert all(get(client, address) is not None for address in ("/before", "/after", "/later"))
        assert broker.client(V311, "sleeper", clean=False).connack.session_present
        broker.leave()


def test_a_store_that_is_put_in_place_of_the_open_one_is_left_alone(daemon: Daemon) -> None:
    """A backup, put back while the router runs: it is what the next start reads."""
    backup = daemon.directory / "backup"
    shutil.copytree(daemon.data_dir, backup)
    daemon.start()
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        put(client, "/p/0", "written since")
        shutil.rmtree(daemon.data_dir / "journal")
        shutil.copytree(backup / "journal", daemon.data_dir / "journal")
        kept = store(daemon).read_bytes()
        put(client, "/p/1", "written since")
        assert eventually(lambda: state(client)[0] == "memory")
        assert "is another file" in str(state(client)[1])
        time.sleep(2.5)  # longer than until it is tried again
        put(client, "/p/2", "written since")
    daemon.stop()
    assert store(daemon).read_bytes() == kept
    daemon.start()
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        for number in range(3):
            param = get(client, f"/p/{number}")
            assert param is not None
            assert param.value == f"value {number}" * 20
    daemon.stop()


def test_a_store_that_is_put_back_after_the_open_one_was_removed_is_left_alone(daemon: Daemon) -> None:
    """The same, where the router has noticed in between that its own is gone."""
    backup = daemon.directory / "backup"
    shutil.copytree(daemon.data_dir, backup)
    daemon.start()
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        shutil.rmtree(daemon.data_dir / "journal")
        put(client, "/p/0", "written since")
        assert eventually(lambda: "data.mdb was removed" in daemon.stderr)
        shutil.copytree(backup / "journal", daemon.data_dir / "journal")
        kept = store(daemon).read_bytes()
        assert eventually(lambda: "is another file" in str(state(client)[1]))
        put(client, "/p/1", "written since")
        time.sleep(2.5)  # longer than until it is tried again
        assert state(client)[0] == "memory"
    daemon.stop()
    assert store(daemon).read_bytes() == kept
    daemon.start()
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        for number in range(2):
            param = get(client, f"/p/{number}")
            assert param is not None
            assert param.value == f"value {number}" * 20
    daemon.stop()


@pytest.mark.parametrize("mode", ["group", "strict"])
def test_a_full_disk_and_room_again(mode: str) -> None:
    """A limit on the size of files stands in for the disk's: the write fails in the middle of a commit as well."""
    daemon = Daemon(sets={"journal.mode": mode}).start()
    try:
        with WsClient(daemon.ws_url).hello() as client:
            client.sync()
            put(client, "/before", 1)
            time.sleep(0.3)
            limit = store(daemon).stat().st_size + 3 * 4096
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            for number in range(20):
                client.send(wire.Set(f"/big/{number}", b"x" * 30_000))
            # What is said about the disk is itself only in memory, so it comes at once in any mode.
            with WsClient(daemon.ws_url).hello() as reader:
                reader.sync()
                assert eventually(lambda: state(reader)[0] == "memory")
                assert get(reader, "/big/19") is not None
                resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                assert eventually(lambda: state(reader)[0] == "ok")
            client.sync()
        daemon.assert_healthy()
        daemon.kill()
        daemon.start()
        with WsClient(daemon.ws_url).hello() as client:
            client.sync()
            assert get(client, "/before") is not None
            assert all(get(client, f"/big/{number}") is not None for number in range(20))
        daemon.stop()
        assert aside(daemon) == []
    finally:
        daemon.close()
