"""Routers as processes on loopback, links through proxies that can be cut, and clients: what a history is made of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support import mqtt_packets as mqtt
from support.clock_shim import ShiftedClock
from support.ports import HOST, free_port

from clasp_edge import wire
from clasp_edge.journal import tools
from clasp_edge.journal.journal import DIRECTORY

PROGRAM = Path(__file__).parents[2]
READY_S = 120.0
SNAPSHOT_GAP_S = 0.2
"""A state of some dozen params comes in one piece; this is to be told from one that is empty."""


class Link:
    """Between a box, which dials `port`, and its hub."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open.set()

    async def listen(self) -> None:
        """Let connections through."""
        self._open.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port)

    def refuse(self) -> None:
        """Reset what there is, refuse what comes."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        """Reset what there is."""
        for writer in list(self._writers):
            writer.transport.abort()

    def swallow(self) -> None:
        """Hold back what is said both ways, without a word."""
        self._open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except asyncio.CancelledError:
            pass  # the history is over; streams would print it
        finally:
            for end in (writer, far_writer):
                end.transport.abort()
                self._writers.discard(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except (OSError, ConnectionError):
            pass
        writer.transport.abort()


class Router:
    """One daemon with a data directory of its own and a clock that can be set."""

    def __init__(self, name: str, root: Path, mode: str) -> None:
        self.name = name
        self.ws, self.tcp, self.mqtt = free_port(), free_port(), free_port()
        self.root = root / name
        self.data = self.root / "data"
        self.root.mkdir(parents=True)
        self.clock = ShiftedClock(self.root)
        self.mode = mode
        self.program = PROGRAM
        """The tree that it is started from."""
        self.uplink = ""
        self.journal = ""
        """More lines of the table `journal`."""
        self.state = ""
        """More lines of the table `state`, and the tables below it."""
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._backups = 0

    async def start(self) -> None:
        """Until it says that it is ready. Raises RuntimeError."""
        config = self.root / "config.toml"
        config.write_text(
            f'name = "{self.name}"\ndata_dir = "{self.data}"\n[websocket]\nlisten = "{HOST}:{self.ws}"\n'
            f'[tcp]\nlisten = "{HOST}:{self.tcp}"\n[mqtt]\nlisten = "{HOST}:{self.mqtt}"\n[osc]\nlisten = "off"\n'
            f'[journal]\nmode = "{self.mode}"\n{self.journal}[state]\nparam_ttl_s = 0\n{self.state}{self.uplink}'
        )
        out = self.root / "out"
        with out.open("wb") as stdout, (self.root / "log").open("ab") as stderr:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", "clasp_edge", "run", "--config", config],
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=os.environ | self.clock.environment,
                cwd=self.program,
            )  # fmt: skip
        for _ in range(int(READY_S / 0.05)):
            if b"\nready" in out.read_bytes():
                return
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise RuntimeError(f"{self.name} has not started: {self.root / 'log'}")

    async def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop or kill it, and wait."""
        if self._process is not None and self._process.poll() is None:
            self.freeze(False)
            self._process.send_signal(how)
            await asyncio.to_thread(self._process.wait)

    def freeze(self, on: bool) -> None:
        """SIGSTOP and SIGCONT."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)
            self.stopped = on

    def back_up(self) -> Path:
        """A copy of its data directory, as it is at this moment."""
        self._backups += 1
        target = self.root / f"backup{self._backups}"
        frozen = self.stopped
        self.freeze(True)
        shutil.copytree(self.data, target, ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
        self.freeze(frozen)
        return target

    def put_back(self, backup: Path | None) -> None:
        """In place of the data directory, or none; the router is off."""
        shutil.rmtree(self.data)
        if backup is not None:
            shutil.copytree(backup, self.data)

    def logged(self, text: str) -> int:
        """How often its log says so."""
        log = self.root / "log"
        return log.read_text(errors="replace").count(text) if log.exists() else 0

    def events(self) -> dict[str, list[object]]:
        """The values of events in its journal, in order, by address; the router is off."""
        found: dict[str, list[object]] = {}
        for record in tools.log_records(self.data / DIRECTORY, damaged=_damaged):
            message = wire.decode(record.frame)[1]
            if isinstance(message, wire.Publish) and message.signal is wire.SignalType.EVENT:
                found.setdefault(message.address, []).append(message.value)
        return found


def _damaged(number: int, why: str) -> None:
    raise AssertionError(f"the block that begins with record {number}: {why}")


class Client:
    """A CLASP client over TCP that asks and waits."""

    def __init__(self, port: int, on_error: Callable[[wire.Error], None] = lambda _: None) -> None:
        self._port = port
        self._on_error = on_error
        self._answers: asyncio.Queue[wire.Message] = asyncio.Queue()

    async def open(self) -> Client:
        """Connected and greeted, with the state in `answer`s to come. Raises OSError, TimeoutError."""
        opening = asyncio.open_connection(HOST, self._port)
        self._reader, self._writer = await asyncio.wait_for(opening, 3)
        self._task = asyncio.ensure_future(self._read())
        self.send(wire.Hello(1, "history", ("param", "event")))
        return self

    def send(self, message: wire.Message, qos: int = 1) -> None:
        frame = wire.encode_frame(wire.encode_payload(message), wire.Qos(qos))
        self._writer.write(struct.pack(">I", len(frame)) + frame)

    async def write(self, write: wire.Set) -> wire.Ack | wire.Error:
        """SET a param, until it is answered. An ERROR may also be about an earlier write to it. Raises TimeoutError."""
        while not self._answers.empty():
            self._answers.get_nowait()
        self.send(write)
        while True:
            answer = await self.answer(wire.Ack, wire.Error)
            assert isinstance(answer, wire.Ack | wire.Error)
            if answer.address == write.address:
                return answer

    async def answer(self, *kinds: type[wire.Message], within_s: float = 5.0) -> wire.Message:
        """The next message of one of these kinds. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while True:
                message = await self._answers.get()
                if isinstance(message, kinds):
                    return message

    async def params(self, *, everything: bool = False) -> dict[str, object]:
        """All params; of the router's own only with `everything`."""
        self.send(wire.Get("/**"))
        found: dict[str, object] = {}
        snapshot = await self.answer(wire.Snapshot)
        with contextlib.suppress(TimeoutError):
            while True:
                assert isinstance(snapshot, wire.Snapshot)
                found |= {param.address: param.value for param in snapshot.params}
                snapshot = await self.answer(wire.Snapshot, within_s=SNAPSHOT_GAP_S)
        own = "/clasp-edge/"
        return {address: value for address, value in found.items() if everything or not address.startswith(own)}

    async def replay(self, pattern: str) -> list[object]:
        """The values of events in the router's journal. Raises TimeoutError."""
        self.send(wire.Replay(pattern, types=(wire.SignalType.EVENT,)), 2)
        found: list[object] = []
        while isinstance(message := await self.answer(wire.Publish, wire.Ack), wire.Publish):
            found.append(message.value)
        return found

    def close(self) -> None:
        self._task.cancel()
        self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            while True:
                size = struct.unpack(">I", await self._reader.readexactly(4))[0]
                frame = await self._reader.readexactly(size)
                message = wire.decode(frame)[1]
                if isinstance(message, wire.Ping):
                    self.send(wire.Pong(), 0)
                else:
                    if isinstance(message, wire.Error):
                        self._on_error(message)
                    self._answers.put_nowait(message)
        except (OSError, EOFError):
            pass


class MqttWriter:
    """An MQTT 3.1.1 client that publishes retained messages, one at a time, and connects when it first does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def publish(self, topic: str, payload: bytes) -> None:
        """With quality of service 1, until it is acknowledged. Raises OSError, EOFError, TimeoutError."""
        async with asyncio.timeout(5.0):
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
                self._writer.write(mqtt.connect("", mqtt.V311))
                await self._reader.readexactly(4)
            self._writer.write(mqtt.publish(mqtt.V311, topic, payload, qos=1, retain=True))
            await self._reader.readexactly(4)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
