"""`make links`: a link over QUIC beside one over wss, between real hosts whose network loses, delays and renumbers.

For each: how late events are (p50, p99, most), the longest silence, how many are lost, and what goes over the wire both
ways; then events while 100,000 params are told to a box that has none. Needs root. The clocks are one clock, so
a delay is one-way, and the writer's and the reader's own turns are in it.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.federation_net import Host, Net, why_not
from support.live import eventually, get, subscribe

from clasp_edge import wire
from clasp_edge.daemon.certificate import fingerprint_of

KINDS = ("wss", "quic")
TLS_PORT, QUIC_PORT = 7340, 7331
RATE = 100
"""Events a second."""

QUIET_S = 8.0
"""How long the last events may take."""

SNAPSHOT_PARAMS = 100_000
SLOW_KB = 2500.0
"""A second, of the link while a snapshot is told: 20 Mbit/s, as of a box on Wi-Fi."""

ELSEWHERE = "10.77.0.77"

BARE = ("param", "event", "bare")
"""Features of clients that do not want all of the state."""


class Events:
    """Numbered events from a client of one host to a client of the other, for as long as the `with` block lasts."""

    def __init__(self, source: Host, target: Host, prefix: str) -> None:
        self.delays_s: list[float] = []
        self.sent = 0
        self.silence_s = 0.0
        self._address = f"{prefix}/event"
        self._writer, self._reader = source.client("writer", features=BARE), target.client("ear", features=BARE)
        subscribe(self._reader, f"{prefix}/event")
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write), threading.Thread(target=self._read)]

    def __enter__(self) -> Events:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._writer.close()
        self._reader.close()

    def _write(self) -> None:
        began_s = time.monotonic()
        while not self._over.is_set():
            self._writer.send(wire.Publish(self._address, wire.SignalType.EVENT, time.monotonic()))
            self.sent += 1
            time.sleep(max(0.0, began_s + self.sent / RATE - time.monotonic()))

    def _read(self) -> None:
        ends_s = 0.0
        last_s = time.monotonic()
        while True:
            if self._over.is_set():
                ends_s = ends_s or time.monotonic() + QUIET_S
                if len(self.delays_s) >= self.sent or time.monotonic() > ends_s:
                    return
            with contextlib.suppress(TimeoutError):
                message = self._reader.recv(0.1)
                if isinstance(message, wire.Publish) and isinstance(message.value, float):
                    now_s = time.monotonic()
                    self.delays_s.append(now_s - message.value)
                    self.silence_s = max(self.silence_s, now_s - last_s)
                    last_s = now_s


def row(title: str, kind: str, events: Events, size: float, note: str = "") -> None:
    """One line of the table."""
    delays_ms = sorted(delay_s * 1000 for delay_s in events.delays_s) or [float("nan")]
    p99 = delays_ms[min(len(delays_ms) - 1, int(len(delays_ms) * 0.99))]
    print(
        f"{title:26}{kind:6}{statistics.median(delays_ms):9.1f}{p99:9.1f}{delays_ms[-1]:9.1f}"
        f"{events.silence_s * 1000:10.0f}{events.sent - len(events.delays_s):6}{size / 1000:9.0f}  {note}",
        flush=True,
    )


def stage(net: Net, kind: str, journal: str) -> None:
    """A hub that is reached by both kinds of link, and a box that uses this one."""
    certain: dict[str, object] = {
        "journal.mode": journal,
        "journal.wear_budget_gb_per_day": 0,
        "limits.messages_per_second": 0,
        "state.max_params": 2 * SNAPSHOT_PARAMS,
    }
    net.serve(
        "hub",
        sets={"websocket.tls_listen": f"0.0.0.0:{TLS_PORT}", "quic.listen": f"0.0.0.0:{QUIC_PORT}", **certain},
    )
    pin = fingerprint_of(net["hub"].daemon.data_dir / "tls" / "certificate.pem")
    port = TLS_PORT if kind == "wss" else QUIC_PORT
    more: dict[str, object] = {"url": [f"{kind}://{net['hub'].address}:{port}"], "tls_pin": pin}
    net.serve("box", uplink_to="hub", owns=["/box/**"], wants=["/hub/**"], more=more, sets=certain)
    await_up(net)


def await_up(net: Net, timeout_s: float = 60.0) -> None:
    """The states are settled."""
    with net["box"].client("auditor", features=BARE) as asking:

        def up() -> bool:
            param = get(asking, "/clasp-edge/uplinks/up/state")
            return param is not None and param.value == "up"

        eventually(up, timeout_s)


def faults(kind: str, seconds: float, journal: str) -> None:
    """One link through one fault after the other; events from the box to the hub."""
    with Net("hub", "box") as net:
        stage(net, kind, journal)
        for title, fault in (
            ("undisturbed", contextlib.nullcontext),
            ("2 % loss", lambda: net.lossy("box", 0.02)),
            ("10 % loss", lambda: net.lossy("box", 0.1)),
            ("200 ms round trip", lambda: net.slow("box", 100.0)),
        ):
            with fault():  # type: ignore[operator]
                net["box"].daemon.restart()
                await_up(net)
                began = net.carried()
                with Events(net["box"], net["hub"], "/box") as events:
                    time.sleep(seconds)
                row(title, kind, events, net.carried() - began)
        began = net.carried()
        with Events(net["box"], net["hub"], "/box") as events:
            time.sleep(seconds / 2)
            net.readdress("box", ELSEWHERE)
            time.sleep(seconds / 2)
        row("another address", kind, events, net.carried() - began)


def snapshot(kind: str, journal: str, loss: float) -> None:
    """Events of the hub while a box that was started anew is told 100,000 params."""
    with Net("hub", "box") as net:
        stage(net, kind, journal)
        with net["hub"].client("writer", features=BARE) as writer:
            for number in range(SNAPSHOT_PARAMS):
                writer.send(wire.Set(f"/hub/param/{number}", float(number)))
            writer.sync(60.0)
        net["box"].daemon.stop()
        shutil.rmtree(net["box"].daemon.data_dir)
        net.both("box", delay_ms=20.0, rate_kb=SLOW_KB, loss=loss)
        net["box"].daemon.start()
        began, began_s = net.carried(), time.monotonic()
        with Events(net["hub"], net["box"], "/hub") as events:
            await_up(net)
            took_s = time.monotonic() - began_s
        row(f"snapshot, {loss:.0%} loss", kind, events, net.carried() - began, f"{took_s:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="links", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each fault lasts")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--journal", default="group", help="journal.mode of both")
    parser.add_argument("--only", default="", help="`faults` or `snapshot`")
    parser.add_argument("--loss", type=float, nargs="*", default=[0.0, 0.02])
    options = parser.parse_args()
    if reason := why_not():
        print(f"links: {reason}", file=sys.stderr)
        return 2
    print(f"{'':26}{'':6}{'p50 ms':>9}{'p99 ms':>9}{'most ms':>9}{'silent ms':>10}{'lost':>6}{'kB':>9}")
    for kind in options.kinds.split(","):
        if options.only in ("", "faults"):
            faults(kind, options.seconds, options.journal)
        if options.only in ("", "snapshot"):
            for loss in options.loss:
                snapshot(kind, options.journal, loss)
    return 0


if __name__ == "__main__":
    sys.exit(main())
