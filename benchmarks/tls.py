"""TLS beside plain connections, in one run: this daemon, this daemon behind stunnel, and mosquitto.

    nice -n 5 python -m benchmarks.tls [--messages N] [--handshakes N] [--idle N]

Each message is heard by who sends it (SET 1→1, PUBLISH of QoS 0), 500 under way. What is told is CPU time of the
server, with its proxy where there is one, per message; the client is Python and slower. Handshakes are whole ones
(TLS 1.3, P-256), one after the other. What is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import free_port
from benchmarks.streams import Stream, Tcp, begin_clasp, cpu_s, rss_kib, until_end, windowed

WINDOW = 500
ROUNDS = 3
READY_S = 20.0

CONNECT = bytes.fromhex("100d00044d5154540402000000") + b"\x01b"
SUBSCRIBE = bytes.fromhex("820c0001") + b"\x00\x07bench/#\x00"
PUBLISH = b"\x30\x0c\x00\x07bench/a0.5"


class Tls(Tcp):
    """`server_name` is in the certificate of nobody: only its key is of interest here."""

    def __init__(self, address: tuple[str, int]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        super().__init__(address)
        self._sock.settimeout(20)
        self._sock = context.wrap_socket(self._sock)
        self._sock.settimeout(0.05)


def begin_mqtt(stream: Stream) -> tuple[bytes, int]:
    """As `begin_clasp`, in MQTT 3.1.1."""
    stream.send(CONNECT)
    until_end(stream, b"\x20\x02\x00\x00")
    stream.send(SUBSCRIBE)
    until_end(stream, b"\x90\x03\x00\x01\x00")
    return PUBLISH, len(PUBLISH)


@dataclass(frozen=True)
class Subject:
    """What is measured: processes, and where they answer, plain and encrypted."""

    title: str
    pids: tuple[int, ...]
    plain: tuple[str, int]
    encrypted: tuple[str, int]
    begin: Callable[[Stream], tuple[bytes, int]]


@contextmanager
def daemon(directory: Path, certificate: Path, key: Path, *, encrypted: bool) -> Iterator[tuple[int, dict[str, int]]]:
    """This daemon; its process and its ports by scheme."""
    settings = {
        "websocket.listen": "off", "tcp.listen": "127.0.0.1:0", "mqtt.listen": "127.0.0.1:0", "osc.listen": "off",
        "data_dir": directory, "journal.mode": "off", "limits.messages_per_second": 0, "limits.memory_mib": 0,
        "log.level": "warning",
    }  # fmt: skip
    if encrypted:
        settings |= {"tcp.tls_listen": "127.0.0.1:0", "mqtt.tls_listen": "127.0.0.1:0"}
        settings |= {"tls.certificate": certificate, "tls.key": key}
    command = [sys.executable, "-m", "clasp_edge", "run"]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = next(line for line in process.stdout if line.startswith("ready "))
        ports = {word.partition("://")[0]: int(word.rpartition(":")[2]) for word in ready.split()[1:]}
        try:
            yield process.pid, ports
        finally:
            process.terminate()


@contextmanager
def other(program: str, text: str, directory: Path, port: int, *options: str) -> Iterator[int]:
    """A program that takes a file of settings, once it listens at `port`."""
    path = directory / f"{program}.conf"
    path.write_text(text)
    command = [shutil.which(program) or f"/usr/sbin/{program}", *options, str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > deadline_s or process.poll() is not None:
                    raise
                time.sleep(0.02)
        try:
            yield process.pid
        finally:
            process.terminate()


def certified(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9",
         "-subj", "/CN=bench", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def installed(program: str) -> bool:
    if shutil.which(program) or Path(f"/usr/sbin/{program}").exists():
        return True
    print(f"left out: {program} is not installed", file=sys.stderr)
    return False


def subjects(stack: ExitStack, directory: Path) -> Iterator[Subject]:
    certificate, key = certified(directory)
    pid, ports = stack.enter_context(daemon(directory / "ours", certificate, key, encrypted=True))
    at = {scheme: ("127.0.0.1", port) for scheme, port in ports.items()}
    yield Subject("ours, CLASP over TCP", (pid,), at["tcp"], at["tcps"], begin_clasp)
    yield Subject("ours, MQTT", (pid,), at["mqtt"], at["mqtts"], begin_mqtt)
    if installed("stunnel"):
        behind, plain = stack.enter_context(daemon(directory / "behind", certificate, key, encrypted=False))
        port = free_port()
        text = (
            f"foreground = yes\nsyslog = no\ndebug = 3\n[bench]\naccept = 127.0.0.1:{port}\n"
            f"connect = 127.0.0.1:{plain['tcp']}\ncert = {certificate}\nkey = {key}\n"
            "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
        )
        proxy = stack.enter_context(other("stunnel", text, directory, port))
        where = ("127.0.0.1", plain["tcp"])
        yield Subject("ours behind stunnel", (behind, proxy), where, ("127.0.0.1", port), begin_clasp)
    if installed("mosquitto"):
        port, encrypted = free_port(), free_port()
        text = (
            f"per_listener_settings false\nallow_anonymous true\nmax_queued_messages 0\nlog_type none\n"
            f"user root\nlistener {port} 127.0.0.1\nset_tcp_nodelay true\n"
            f"listener {encrypted} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n"
        )
        broker = stack.enter_context(other("mosquitto", text, directory, encrypted, "-c"))
        yield Subject("mosquitto", (broker,), ("127.0.0.1", port), ("127.0.0.1", encrypted), begin_mqtt)


def handshakes(subject: Subject, count: int) -> tuple[float, float]:
    """(ms of CPU, how many a second) of whole handshakes, one after the other; each is waited for."""
    began_s, began_cpu_s = time.monotonic(), cpu_s(*subject.pids)
    for _ in range(count):
        Tls(subject.encrypted).close()
    return (cpu_s(*subject.pids) - began_cpu_s) / count * 1000, count / (time.monotonic() - began_s)


def idle_kib(subject: Subject, open_stream: Callable[[], Stream], count: int) -> float:
    """KiB that a connection adds which has logged in and says nothing."""
    before = sum(map(rss_kib, subject.pids))
    streams = [open_stream() for _ in range(count)]
    for stream in streams:
        subject.begin(stream)
    added = (sum(map(rss_kib, subject.pids)) - before) / count
    for stream in streams:
        stream.close()
    return added


def measured(found: Sequence[Subject], messages: int, number_of_handshakes: int, idle: int) -> None:
    cost: dict[tuple[str, bool], list[float]] = {}
    for _ in range(ROUNDS):
        for subject in found:
            for encrypted in (False, True):
                address = subject.encrypted if encrypted else subject.plain
                kind = Tls if encrypted else Tcp
                pids = subject.pids if encrypted else subject.pids[:1]
                used, _ = windowed(pids, lambda kind=kind, at=address: kind(at), messages, WINDOW, subject.begin)  # type: ignore[misc]
                cost.setdefault((subject.title, encrypted), []).append(used)
    print(f"{'':24}{'plain µs':>10}{'TLS µs':>9}{'plain/TLS':>11}{'handshake ms':>14}{'one by one/s':>14}"
          f"{'plain KiB':>11}{'TLS KiB':>9}")  # fmt: skip
    for subject in found:
        plain, encrypted_us = (statistics.median(cost[subject.title, one]) for one in (False, True))
        took_ms, rate = handshakes(subject, number_of_handshakes)
        kept = [
            idle_kib(subject, lambda kind=kind, at=at: kind(at), idle)  # type: ignore[misc]
            for kind, at in ((Tcp, subject.plain), (Tls, subject.encrypted))
        ]
        print(
            f"{subject.title:24}{plain:10.2f}{encrypted_us:9.2f}{plain / encrypted_us:11.2f}{took_ms:14.2f}{rate:14.0f}"
            f"{kept[0]:11.1f}{kept[1]:9.1f}",
            flush=True,
        )


def resident(directory: Path) -> None:
    """What TLS costs a process with which nobody is connected."""
    certificate, key = certified(directory)
    found = []
    for encrypted in (False, True):
        with daemon(directory / f"resident-{encrypted}", certificate, key, encrypted=encrypted) as (pid, _):
            found.append(rss_kib(pid) / 1024)
    print(f"resident: {found[0]:.1f} MiB without TLS, {found[1]:.1f} MiB with two encrypted listeners")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--handshakes", type=int, default=300)
    parser.add_argument("--idle", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        resident(Path(directory))
        with ExitStack() as stack:
            measured(list(subjects(stack, Path(directory))), args.messages, args.handshakes, args.idle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
