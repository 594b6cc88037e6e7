"""Fuzzing of a whole router, with every kind of sink attached; run by hand or by `make fuzz`, not by pytest.

    python tests/fuzz/fuzz_whole_router.py -max_total_time=60 [-seed=N] [-inputs=N]

With `inputs` it ends as soon as each door has had that many.

A router runs as a process of its own, with a strict journal, uplinks whose hubs lie, a leaf of the reference, MQTT
sessions of both versions that outlive their connections, an OSC target, an OSC subscriber and a thinned subscription.
Every door (CLASP over TCP and WebSocket, lying peers, MQTT, OSC, HTTP, control socket) is fed with mutations of what
belongs there, many at a time, while an honest client goes on asking. Each round leans on the door that has had least.
When it is over, the router is stopped and started again on the journal that is left. A finding is a process that has
ended, an honest client without an answer, a traceback in the log, or a restart that fails; the inputs before it are in
build/fuzz-findings.
"""

from __future__ import annotations

import random
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz import corpus, mutate
from fuzz.lying_hub import LyingHub
from support import daemon as daemons
from support import mqtt_packets as mqtt
from support.client import TcpClient
from support.daemon import Daemon, DaemonFailed
from support.osc import packet
from support.ports import free_port

from clasp_edge.wire import FederationOp, FederationSync, Set, Subscribe, SubscribeOptions, encode

FINDINGS = Path(__file__).resolve().parents[2] / "build" / "fuzz-findings"
KEPT_INPUTS = 5000
ROUND_S = 20.0
"""From one restart to the next."""

PATIENCE_S = 60.0
"""For an answer to the honest client: it tells whether the router stands, not how fast it is."""

AT_ONCE = 200
KEPT_SESSIONS = 8
HUBS = 4
"""Uplinks: each ends with the first broken message, and waits before it tries again."""

LEANING = 0.85
"""How often the door of the round is the next."""

FAULTS = ("Traceback", "AddressSanitizer", "runtime error:", "Exception ignored")
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n"
)


class Finding(Exception):
    """What went wrong."""


class Fuzzer:
    """One router, and everybody who talks to it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.inputs: deque[tuple[str, bytes]] = deque(maxlen=KEPT_INPUTS)
        self.stack = ExitStack()
        self.hubs = [self.stack.enter_context(LyingHub(seed + at)) for at in range(HUBS)]
        self.desk = self.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.desk.bind(("127.0.0.1", 0))
        self.listening: list[socket.socket] = []
        config = "".join(
            f'[uplink.hub{at}]\nurl = "tcp://127.0.0.1:{hub.port}"\nowns = ["/a/**", "/mqtt/**", "/x"]\n'
            'wants = ["/show/**", "/b/**", "/lights/**"]\npolicy = { "/a/**" = "log" }\n'
            for at, hub in enumerate(self.hubs)
        )
        config += (
            f'[[osc.target]]\nname = "desk"\nhost = "127.0.0.1"\nport = {self.desk.getsockname()[1]}\n'
            'patterns = ["/**"]\n'
        )
        listens = ("websocket.listen", "tcp.listen", "mqtt.listen", "osc.listen", "osc.tcp_listen")
        sets: dict[str, object] = {key: f"127.0.0.1:{free_port()}" for key in listens}  # the same at each start
        sets |= {"journal.mode": "strict", "state.max_params": 5000}
        self.daemon = Daemon(tcp=True, mqtt=True, osc=True, config=config, sets=sets)

    # ---- the router and its sinks ----

    def start(self) -> None:
        daemons.READY_TIMEOUT_S = daemons.STOP_TIMEOUT_S = PATIENCE_S
        try:
            self.daemon.start()
        except DaemonFailed as error:
            raise Finding(f"it does not start: {error}") from error
        for version in (4, 5):
            device = socket.create_connection(self.daemon.mqtt_address)
            props = {"session_expiry_interval": 600} if version == mqtt.V5 else None
            device.sendall(mqtt.connect(f"kept-{version}", version=version, clean=False, props=props))
            device.sendall(mqtt.subscribe(version, 1, [("#", 2)]))
            self.listening.append(device)
        declaration = FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/**",), origin="leaf")
        thin = Subscribe(1, "/**", options=SubscribeOptions(max_rate=20, epsilon=0.5, window=50))
        plain = Subscribe(1, "/**", options=SubscribeOptions(history=100))
        for frames in (
            [corpus.hello("clasp-federation"), encode(declaration)],
            [corpus.hello("thin"), encode(thin)],
            [corpus.hello("plain"), encode(plain)],
        ):
            client = socket.create_connection(self.daemon.tcp_address)
            client.sendall(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))
            self.listening.append(client)
        self.listening.append(self.desk)
        self.desk.sendto(packet("/clasp/subscribe", "/**"), self.daemon.osc_address)

    def end_kept_sessions(self) -> None:
        """Those of the round before would get all that comes, and leave little time for what is tried."""
        for name in range(KEPT_SESSIONS):
            with socket.create_connection(self.daemon.mqtt_address) as device:
                device.sendall(mqtt.connect(f"fuzz-{name}", version=4, clean=True) + mqtt.disconnect(4))
                device.settimeout(PATIENCE_S)
                while device.recv(1 << 16):
                    pass

    def drain(self) -> None:
        """Read what the sinks have been sent."""
        for end in self.listening:
            end.setblocking(False)
            with suppress(OSError):
                while end.recv(1 << 18):
                    pass

    def ask(self) -> None:
        """The honest client joins, writes, and gets an answer."""
        try:
            with TcpClient(self.daemon.tcp_address) as client:
                client.hello("honest", features=("param",))
                client.send(Set("/honest", 1), qos=1)
                client.sync(PATIENCE_S)
        except Exception as error:
            self.check()
            raise Finding(f"no answer to an honest client: {error!r}") from error
        self.check()

    def check(self) -> None:
        if not self.daemon.running:
            raise Finding(f"the process has ended\n{self.daemon.stderr[-8000:]}")
        said = self.daemon.stderr
        for fault in FAULTS:
            if fault in said:
                at = said.index(fault)
                raise Finding(f"in the log:\n{said[max(0, at - 500) : at + 6000]}")

    def restart(self) -> None:
        for end in self.listening[:-1]:
            end.close()
        self.listening.clear()
        self.end_kept_sessions()
        try:
            self.daemon.stop()
        except DaemonFailed as error:
            raise Finding(f"it does not stop as it should: {error}") from error
        self.start()
        self.ask()

    # ---- the doors ----

    def send(self, door: str, address: tuple[str, int] | str, head: bytes, inputs: Iterator[bytes]) -> None:
        """One connection, with these inputs on it."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(family) as connection, suppress(OSError):
            connection.settimeout(2.0)
            connection.connect(address)
            connection.sendall(head)
            waiting = b""
            for data in inputs:
                self.counts[door] += 1
                self.inputs.append((door, data))
                waiting += data
                if len(waiting) > 1 << 15:
                    self._push(connection, waiting)
                    waiting = b""
            self._push(connection, waiting)
            if self.chance.random() < 0.3:
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1 << 16)

    def _push(self, connection: socket.socket, data: bytes) -> None:
        # Answers are read on the way, or both ends would wait for one another.
        view = memoryview(data)
        while view:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                while connection.recv(1 << 18):
                    pass
            connection.settimeout(2.0)
            view = view[connection.send(view) :]

    def _some(self, seeds: tuple[bytes, ...], wrap: Callable[[random.Random, bytes], bytes]) -> Iterator[bytes]:
        for _ in range(self.chance.randrange(AT_ONCE)):
            data = self.chance.choice(seeds)
            if self.chance.random() < 0.9:
                data = mutate.mutated(self.chance, data, seeds)
            yield wrap(self.chance, data)

    def clasp_tcp(self) -> None:
        hello = corpus.hello("fuzz")
        head = len(hello).to_bytes(4, "big") + hello if self.chance.random() < 0.95 else b""
        self.send("clasp tcp", self.daemon.tcp_address, head, self._some(corpus.clasp(), mutate.stream))

    def clasp_websocket(self) -> None:
        head = UPGRADE % b"clasp"
        hello = corpus.hello("fuzz")
        head += bytes((0x82, 0x80 | len(hello))) + bytes(4) + hello
        self.send("clasp websocket", self.daemon.ws_address, head, self._some(corpus.clasp(), mutate.websocket))

    def lying_peer(self) -> None:
        name = self.chance.choice(("clasp-federation", "box"))
        peer = FederationSync(FederationOp.PEER, origin=f"liar-{self.chance.randrange(5)}", since_revision=1)
        declaration = FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/**",), origin="liar")
        frames = [corpus.hello(name), *([encode(peer)] if name == "box" else []), encode(declaration)]
        head = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
        self.send("lying peer", self.daemon.tcp_address, head, self._some(corpus.federation(), mutate.stream))

    def mqtt_tcp(self) -> None:
        version = self.chance.choice((4, 5))
        head = mqtt.connect(
            f"fuzz-{self.chance.randrange(KEPT_SESSIONS)}", version=version, clean=self.chance.random() < 0.5
        )
        head = head if self.chance.random() < 0.9 else b""
        self.send(
            f"mqtt v{version}", self.daemon.mqtt_address, head, self._some(corpus.mqtt_of(version), mutate.packet)
        )

    def osc_udp(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
            for data in self._some(corpus.osc(), lambda chance, data: data[:60_000]):
                self.counts["osc udp"] += 1
                self.inputs.append(("osc udp", data))
                with suppress(OSError):
                    device.sendto(data, self.daemon.osc_address)

    def osc_tcp(self) -> None:
        def framed(chance: random.Random, data: bytes) -> bytes:
            if chance.random() < 0.5:
                return b"\xc0" + data.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"
            return len(data).to_bytes(4, "big") + data

        self.send("osc tcp", self.daemon.osc_tcp_address, b"", self._some(corpus.osc(), framed))

    def http(self) -> None:
        for data in list(self._some(corpus.http(), lambda chance, data: data))[:20]:
            self.send("http", self.daemon.ws_address, b"", iter((data,)))

    def control(self) -> None:
        for data in list(self._some(corpus.control(), lambda chance, data: data + b"\n"))[:20]:
            self.send("control socket", str(self.daemon.control_path), b"", iter((data,)))

    # ---- the run ----

    def run(self, seconds: float, inputs: float) -> None:
        doors = {
            "clasp tcp": self.clasp_tcp,
            "clasp websocket": self.clasp_websocket,
            "lying peer": self.lying_peer,
            "mqtt v4": self.mqtt_tcp,
            "mqtt v5": self.mqtt_tcp,
            "osc udp": self.osc_udp,
            "osc tcp": self.osc_tcp,
            "http": self.http,
            "control socket": self.control,
        }
        least = min(doors, key=self.counts.__getitem__)
        others = list(doors.values())
        self.start()
        self.ask()
        end_s = time.monotonic() + seconds
        round_end_s = time.monotonic() + min(ROUND_S, seconds / 2)
        turn = 0
        while time.monotonic() < end_s and self.counts[least] < inputs:
            turn += 1
            door = doors[least] if self.chance.random() < LEANING else self.chance.choice(others)
            door()
            self.drain()
            if turn % 20 == 0:
                self.ask()
            elif turn % 4 == 0:
                self.check()
            if time.monotonic() > round_end_s:
                round_end_s = time.monotonic() + ROUND_S
                self.ask()
                self.restart()
                self.counts["restarts"] += 1
                least = min(doors, key=self.counts.__getitem__)
        self.ask()
        self.restart()
        self.daemon.stop()


def main() -> int:
    """Run; 1 where something was found."""
    options = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    seed = int(options.get("seed", time.time_ns() & 0xFFFFFF))
    fuzzer = Fuzzer(seed)
    ended = "nothing found"
    try:
        fuzzer.run(float(options.get("max_total_time", 60)), float(options.get("inputs", "inf")))
    except KeyboardInterrupt:
        ended = "stopped, nothing found until then"
    except Finding as finding:
        FINDINGS.mkdir(parents=True, exist_ok=True)
        path = FINDINGS / f"whole-router-{seed}.txt"
        path.write_text("".join(f"{door}\t{data.hex()}\n" for door, data in fuzzer.inputs))
        print(f"seed {seed}: {finding}\nthe inputs before it: {path}")
        return 1
    finally:
        fuzzer.daemon.close()
    fuzzer.counts["lying hub"] = sum(hub.said for hub in fuzzer.hubs)
    told = ", ".join(f"{door} {count:,}" for door, count in sorted(fuzzer.counts.items()))
    print(f"seed {seed}: {ended}; {told}; {sum(hub.links for hub in fuzzer.hubs)} links")
    return 0


if __name__ == "__main__":
    sys.exit(main())
