"""The tools people have at hand: `oscsend` and `oscdump` of liblo (Debian: liblo-tools)."""

from __future__ import annotations

import select
import socket
import subprocess
import time

import pytest
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put, subscribe
from support.needs import program

from clasp_edge import wire


def oscsend(daemon: Daemon, *arguments: str) -> None:
    host, port = daemon.osc_address
    subprocess.run([program("oscsend", "osc"), f"osc.udp://{host}:{port}/", *arguments], check=True, timeout=10)


@pytest.mark.parametrize(
    ("types", "arguments", "value"),
    [
        ("i", ("-7",), -7),
        ("h", ("1099511627776",), 2**40),
        ("f", ("0.5",), 0.5),
        ("d", ("0.1",), 0.1),
        ("s", ("hello world",), "hello world"),
        ("S", ("symbol",), "symbol"),
        ("c", ("x",), "x"),
        ("m", ("00903c7f",), [0, 0x90, 0x3C, 0x7F]),
        ("TFNI", (), [True, False, None, float("inf")]),
        ("ifs", ("1", "2.5", "three"), [1, 2.5, "three"]),
    ],
)
def test_oscsend(
    daemon: Daemon, clients: Crowd, base: str, types: str, arguments: tuple[str, ...], value: wire.Value
) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}")
    oscsend(daemon, base, *([types] if types else []), *arguments)
    assert client.recv_type(wire.Set).value == value


@pytest.fixture
def dump_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_oscdump(dump_port: int) -> None:
    config = f'[[osc.target]]\nname = "dump"\nhost = "127.0.0.1"\nport = {dump_port}\npatterns = ["/osc/**"]\n'
    with subprocess.Popen([program("oscdump", "osc"), "-L", str(dump_port)], stdout=subprocess.PIPE, text=True) as dump:
        try:
            with Daemon(osc=True, config=config) as daemon:
                crowd = Crowd(daemon)
                client = crowd.ws()
                assert dump.stdout is not None
                lines: list[str] = []
                # oscdump does not say when it listens: it is told until it says something.
                for number in range(500):
                    put(client, "/osc/start", number)
                    time.sleep(0.02)
                    if _has_output(dump):
                        break
                values: list[wire.Value] = [1, 2**40, 0.5, 0.1, "text", True, None, [1, 2.5, "x"]]
                for index, value in enumerate(values):
                    put(client, f"/osc/v/{index}", value)
                while len(lines) < len(values):
                    line = dump.stdout.readline().strip()
                    if "/v/" in line:
                        lines.append(line[line.index("/v/") :])
                crowd.leave()
        finally:
            dump.terminate()
    assert [line.split()[:2] for line in lines] == [
        [f"/v/{index}", tags] for index, tags in enumerate(["i", "h", "f", "f", "s", "T", "N", "ifs"])
    ]
    assert lines[0].split()[2:] == ["1"]
    assert lines[4].split()[2:] == ['"text"']


def _has_output(process: subprocess.Popen[str]) -> bool:
    return bool(select.select([process.stdout], [], [], 0)[0])


def test_both_ends_meet(daemon: Daemon, clients: Crowd, base: str) -> None:
    oscsend(daemon, f"{base}/one", "f", "0.25")
    oscsend(daemon, f"{base}/two", "f", "0.75")
    client = clients.ws()
    eventually(lambda: get(client, f"/osc{base}/one") and get(client, f"/osc{base}/two"))
    oscsend(daemon, f"{base}/*", "i", "9")
    eventually(lambda: all((p := get(client, f"/osc{base}/{name}")) and p.value == 9 for name in ("one", "two")))
