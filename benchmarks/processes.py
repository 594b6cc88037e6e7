"""The programs that are measured, each started as a process of its own.

Responsible for: command lines, the wait for `ready`, ending them. Must not know: workloads, results.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import build

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0

# The rate limiter stays in the path, at a height that no client reaches.
OURS_SETTINGS = {
    "limits.messages_per_second": "10000000",
    "limits.max_sessions": "10000",
    "limits.max_half_open": "1000",
    "state.max_params": "1000000",
    "log.level": "warning",
    "journal.mode": "volatile",  # what it costs to keep more is measured by benchmarks/journal.py
}
# Under load only CLASP is served, so that no port is taken that something else on the machine may want.
OURS_ALONE = {"mqtt.listen": "off", "osc.listen": "off"}
OURS_EVERYTHING = {"mqtt.listen": "127.0.0.1:0", "osc.listen": "127.0.0.1:0"}


class PeerError(Exception):
    """A peer did not start; the text is the last it said."""


@dataclass(frozen=True)
class Running:
    """A peer that answers on its port. `start_s` is the time from starting the process to its line `ready`."""

    port: int
    pid: int
    start_s: float
    osc_port: int
    mqtt_port: int
    quic_port: int


@dataclass(frozen=True)
class Peer:
    """How to start one program. In `command`, {port} and {dir} stand for a free port and an empty directory.

    `osc` are the further arguments that make it serve OSC, on the UDP port {osc_port}, `mqtt` those for MQTT on
    {mqtt_port}, `quic` those for QUIC on {quic_port}, with {pem_certificate}, {pem_key}, {der_certificate} and
    {der_key}; `quic_load` are the arguments of the load generator there. `file` is the text of a file {file} that it is
    given. One that prints no line `ready` is ready when its MQTT port takes connections.
    """

    name: str
    title: str
    command: tuple[str, ...]
    osc: tuple[str, ...] = ()
    mqtt: tuple[str, ...] = ()
    quic: tuple[str, ...] = ()
    quic_load: tuple[str, ...] = ()
    file: str = ""
    says_ready: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _lines(process: subprocess.Popen[str], found: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        found.put(line)
    found.put(None)


def _wait_ready(process: subprocess.Popen[str], log: Path) -> None:
    found: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_lines, args=(process, found), daemon=True).start()
    end = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            line = found.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise PeerError(f"not ready after {READY_TIMEOUT_S:.0f} s") from None
        if line is None:
            process.wait()
            said = log.read_text(errors="replace").strip().splitlines()
            raise PeerError(said[-1] if said else f"ended with status {process.returncode}")
        if line.startswith("ready"):
            return


def _wait_listening(process: subprocess.Popen[str], port: int, log: Path) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    said = log.read_text(errors="replace").strip().splitlines()
    raise PeerError(said[-1] if said else f"does not listen on port {port}")


@contextmanager
def running(peer: Peer, *extra: str, rules: str = "") -> Iterator[Running]:
    """Starts a peer with an empty directory of its own and ends it, and only it, afterwards. `rules`: its configuration
    file, beside what the command line says. Raises PeerError."""
    directory = Path(tempfile.mkdtemp(prefix="clasp-bench-"))
    port, osc_port, mqtt_port = free_port(), free_port(socket.SOCK_DGRAM), free_port()
    quic_port = free_port(socket.SOCK_DGRAM)
    file = directory / "file"
    names = {
        "port": str(port),
        "dir": str(directory / "data"),
        "osc_port": str(osc_port),
        "mqtt_port": str(mqtt_port),
        "quic_port": str(quic_port),
        **({name: str(path) for name, path in build.certificate().items()} if peer.quic else {}),
        "file": str(file),
    }
    file.write_text(peer.file.format(**names))
    command = [part.format(**names) for part in (*peer.command, *extra)]
    if rules:
        (directory / "rules.toml").write_text(rules)
        command += ["--config", str(directory / "rules.toml")]
    log = directory / "stderr"
    start = time.monotonic()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=build.ROOT,
            env={**os.environ, **peer.environment},
        )
    try:
        if peer.says_ready:
            _wait_ready(process, log)
        else:
            _wait_listening(process, mqtt_port, log)
        yield Running(port, process.pid, time.monotonic() - start, osc_port, mqtt_port, quic_port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def ours(*, everything: bool = False) -> Peer:
    """This daemon with its defaults, but for the limits that a load test would run into.

    everything: with the MQTT and OSC servers and the journal on, as on a board.
    """
    settings = {"websocket.listen": "127.0.0.1:{port}", "data_dir": "{dir}", **OURS_SETTINGS}
    settings |= OURS_EVERYTHING if everything else OURS_ALONE
    sets = tuple(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))
    osc = ("--set", "osc.listen=127.0.0.1:{osc_port}", "--set", "osc.messages_per_second=10000000")
    mqtt = ("--set", "mqtt.listen=127.0.0.1:{mqtt_port}")
    # A thousand connections of one host are more than one may have by the defaults.
    quic = ("--set", "quic.listen=127.0.0.1:{quic_port}", "--set", "limits.memory_mib=0")
    return Peer("ours", "clasp-edge", (sys.executable, "-m", "clasp_edge", "run", *sets), osc, mqtt, quic)


def rust() -> Peer:
    program = build.reference_router()
    missing = "" if program else "not built: `make bench-peers` builds it (needs cargo and the crate registry)"
    osc = ("--osc", "127.0.0.1:{osc_port}")
    quic = ("--quic", "127.0.0.1:{quic_port}", "{der_certificate}", "{der_key}")
    return Peer("rust", "clasp-router 4.5 (Rust)", (str(program), "127.0.0.1:{port}"), osc, quic=quic, missing=missing)


def forwarder() -> Peer:
    script = str(build.FORWARDER / "serve.py")
    try:
        path = str(build.forwarder())
    except build.BuildError as error:
        return Peer("forwarder", "blind forwarder", (), missing=str(error))
    command = (sys.executable, script, "127.0.0.1", "{port}")
    return Peer("forwarder", "blind forwarder", command, environment={"PYTHONPATH": path})


def aioquic() -> Peer:
    """No router: it says back what it hears, over QUIC."""
    missing = "" if importlib.util.find_spec("aioquic") else "not installed (pip install aioquic)"
    command = (sys.executable, str(build.HERE / "peers" / "aioquic_echo.py"), "127.0.0.1", "{quic_port}")
    quic = ("{pem_certificate}", "{pem_key}")
    return Peer("aioquic", "an echo on aioquic", command, quic=quic, quic_load=("--echo",), missing=missing)


# Nothing but routing in memory, and no limit of its own that a run would find before the machine's.
MOSQUITTO_CONFIG = """\
listener {mqtt_port} 127.0.0.1
allow_anonymous true
persistence false
log_type none
sys_interval 0
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 0
"""


def mosquitto() -> Peer:
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    missing = "" if program else "not installed (Debian: apt install mosquitto); MQTT is measured without it"
    command = (str(program), "-c", "{file}")
    return Peer("mosquitto", "Mosquitto", command, file=MOSQUITTO_CONFIG, says_ready=False, missing=missing)


def mosquitto_stored() -> Peer:
    """With its persistence on and its `autosave_interval` as shipped, half an hour."""
    config = MOSQUITTO_CONFIG.replace("persistence false", "persistence true\npersistence_file {file}.db")
    return dataclasses.replace(mosquitto(), name="m. stored", title="Mosquitto, persistence on", file=config)


PEERS = {"ours": ours, "rust": rust, "forwarder": forwarder, "mosquitto": mosquitto, "aioquic": aioquic}
