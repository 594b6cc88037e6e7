"""Programs of tests/interop/js under Node: installed once with npm below build/, run as subprocesses, called by line.

Knows the lines that `driver.mjs` speaks. Every wait is bounded.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.client import DEFAULT_TIMEOUT_S
from support.daemon import PROJECT_ROOT
from support.needs import Missing, program
from support.received import Received

SOURCES = PROJECT_ROOT / "tests" / "interop" / "js"
INSTALL_TIMEOUT_S = 240.0
NPM_OPTIONS = [
    "--no-audit",
    "--no-fund",
    "--no-package-lock",
    "--ignore-scripts",
    "--prefer-offline",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
]
CALL_TIMEOUT_S = 30.0
"""Longer than the five seconds after which the client itself gives up waiting."""


def installed() -> Path:
    """The directory with the programs and the packages they need; installed by the first who asks."""
    return _prepared()


@functools.cache
def _prepared() -> Path:
    sources = sorted(SOURCES.iterdir())
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    directory = PROJECT_ROOT / "build" / "interop-js" / digest
    program("node", "node")
    if not directory.exists():
        _install(sources, directory)
    return directory


def _install(sources: list[Path], directory: Path) -> None:
    """Install, whole or not at all. Raises Missing."""
    unfinished = directory.with_name(f"{directory.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        for path in sources:
            shutil.copy(path, unfinished)
        try:
            npm = subprocess.run(
                [program("npm", "node"), "install", *NPM_OPTIONS],
                cwd=unfinished,
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Missing(f"npm did not get the packages of {SOURCES} within {INSTALL_TIMEOUT_S:g} s") from None
        if npm.returncode != 0:
            raise Missing(f"npm cannot install the packages of {SOURCES}\n{npm.stderr}")
        if not directory.exists():
            unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class CallFailed(Exception):
    """The method that was called threw, or its promise was rejected; the text is the JavaScript message."""


class Program:
    """One running program. ``native`` uses the WebSocket that is part of Node instead of the `ws` package."""

    name: str

    def __init__(self, *arguments: str, native: bool = False) -> None:
        self.events: Received[dict[str, Any]] = Received()
        self._replies: Received[dict[str, Any]] = Received()
        self._ids = itertools.count(1)
        self._process = subprocess.Popen(
            ["node", *(["--experimental-websocket"] if native else []), self.name, *arguments],
            cwd=installed(),
            env=os.environ | {"WEBSOCKET": "native" if native else "ws", "NODE_NO_WARNINGS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._threads = [threading.Thread(target=target) for target in (self._read, self._read_stderr)]
        self._stderr = ""
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = untag(json.loads(line))
            if "event" in message:
                self.heard(message)
            else:
                self._replies.add(message)
        # A crash must not be waited for until the timeout.
        self._replies.add({"id": None, "failed": "the program has ended"})

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        self._stderr = self._process.stderr.read()

    def heard(self, event: dict[str, Any]) -> None:
        """Take an event, on the thread that reads."""
        self.events.add(event)

    def call(self, method: str, *words: object, timeout: float = CALL_TIMEOUT_S) -> Any:
        """Call a method of the program and return its result. Raises `CallFailed`."""
        assert self._process.stdin is not None
        number = next(self._ids)
        self._process.stdin.write(json.dumps({"id": number, "call": method, "with": tag(list(words))}) + "\n")
        self._process.stdin.flush()
        reply = self._replies.wait_for(lambda reply: reply["id"] in (number, None), timeout)
        if "failed" in reply:
            raise CallFailed(f"{reply['failed']}\n{self._stderr}".strip())
        return reply["result"]

    def console(self, level: str) -> list[str]:
        """What the library has written with `console.<level>` so far."""
        return [event["text"] for event in self.events.items if event["event"] == "console" and event["level"] == level]

    def exit(self) -> None:
        """End the program, which must not have crashed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        try:
            self._process.stdin.close()
            status = self._process.wait(DEFAULT_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait(DEFAULT_TIMEOUT_S)
            for thread in self._threads:
                thread.join(DEFAULT_TIMEOUT_S)
            self._process.stdout.close()
            self._process.stderr.close()
        assert status == 0, f"{self.name} ended with status {status}\n{self._stderr}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.exit()


class JavaScriptClient(Program):
    """`Clasp` of @clasp-to/core. ``options`` as its constructor takes them. Connected by `connect`."""

    name = "client.mjs"

    def __init__(self, url: str, *, native: bool = False, **options: object) -> None:
        self._heard: dict[int, Received[tuple[str, Any]]] = {}
        super().__init__(url, json.dumps(options), native=native)

    def heard(self, event: dict[str, Any]) -> None:
        if event["event"] == "value":
            self._heard[event["key"]].add((event["address"], event["value"]))
        else:
            super().heard(event)

    def connect(self) -> Self:
        self.call("connect")
        return self

    def set(self, address: str, value: object) -> None:
        self.call("set", address, value)

    def get(self, address: str) -> Any:
        return self.call("get", address)

    def emit(self, address: str, payload: object = None) -> None:
        self.call("emit", address, payload)

    def stream(self, address: str, value: object) -> None:
        self.call("stream", address, value)

    def gesture(self, address: str, number: int, phase: str, payload: object = None) -> None:
        self.call("gesture", address, number, phase, payload)

    def timeline(self, address: str, keyframes: list[dict[str, object]]) -> None:
        self.call("timeline", address, keyframes)

    def bundle(self, messages: list[dict[str, object]], at: int | None = None) -> None:
        self.call("bundle", messages, {} if at is None else {"at": at})

    def time(self) -> int:
        return int(self.call("time"))

    def subscribe(self, pattern: str, **options: object) -> Received[tuple[str, Any]]:
        """Subscribe, and return the list that fills with (address, value) once the router knows of it."""
        key = len(self._heard)
        received = self._heard[key] = Received()
        self.call("subscribe", key, pattern, options or None)
        self.settle()
        return received

    def unsubscribe(self, received: Received[tuple[str, Any]]) -> None:
        """End a subscription."""
        key = next(key for key, value in self._heard.items() if value is received)
        self.call("unsubscribe", key)
        self.settle()

    def settle(self) -> None:
        """Return when the router has dealt with all that was sent: a round trip of a param nobody subscribes to."""
        address = f"/settled/js/{next(self._ids)}"
        self.set(address, True)
        assert self.get(address) is True

    def close(self) -> None:
        self.call("close")

    def exit(self) -> None:
        super().exit()
        assert self.console("warn") == [], "the client could not decode something"


class JavaScriptCodec(Program):
    """The codec of @clasp-to/core on a bare WebSocket. Messages are maps as the package describes them."""

    name = "codec.mjs"

    def __init__(self, url: str) -> None:
        self._taken = 0
        super().__init__(url)

    def connect(self) -> Self:
        assert self.call("connect") == "clasp"
        return self

    def send(self, message: dict[str, object], qos: int = 0) -> None:
        self.call("send", message, qos)

    def recv(self, kind: str) -> dict[str, Any]:
        """Return the next message, which must be of this type."""
        self._taken += 1
        event = self.events.wait(self._taken)[self._taken - 1]
        assert event.get("message", {}).get("type") == kind, event
        message: dict[str, Any] = event["message"]
        return message

    def hello(self) -> dict[str, Any]:
        """Say HELLO; returns the WELCOME, and takes the SNAPSHOT after it."""
        self.send({"type": "HELLO", "version": 1, "name": "codec", "features": ["param", "event", "stream"]})
        welcome = self.recv("WELCOME")
        self.recv("SNAPSHOT")
        return welcome


def tag(value: object) -> object:
    """As `driver.mjs` writes what JSON cannot say."""
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, float) and (value != value or abs(value) == float("inf") or str(value) == "-0.0"):
        return {"$float": "-0" if value == 0 else str(value)}
    if isinstance(value, list | tuple):
        return [tag(inner) for inner in value]
    if isinstance(value, dict):
        return {key: tag(inner) for key, inner in value.items()}
    return value


def untag(value: Any) -> Any:
    """As `driver.mjs` reads what JSON cannot say."""
    if isinstance(value, list):
        return [untag(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "$bytes" in value:
        return bytes.fromhex(value["$bytes"])
    if "$float" in value:
        return float(value["$float"])
    if "$int" in value:
        return int(value["$int"])
    return {key: untag(inner) for key, inner in value.items()}
