"""`mosquitto_pub` and `mosquitto_sub` (Debian: mosquitto-clients), run as subprocesses. Every wait is bounded."""

from __future__ import annotations

import subprocess
import threading
from types import TracebackType
from typing import Self

from support.mqtt_packets import V5, V311
from support.needs import program
from support.received import Received

VERSIONS = {V311: "311", V5: "5"}
TIMEOUT_S = 30.0


def _command(tool: str, address: tuple[str, int], version: int, *words: str) -> list[str]:
    host, port = address
    return [program(tool, "mqtt"), "-h", host, "-p", str(port), "-V", VERSIONS[version], *words]


def publish(
    address: tuple[str, int], version: int, topic: str, payload: bytes, *words: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `mosquitto_pub` with the payload on its standard input, where there is one; ``words`` are further options."""
    command = _command("mosquitto_pub", address, version, "-t", topic, "-s" if payload else "-n", *words)
    return subprocess.run(command, input=payload, capture_output=True, timeout=TIMEOUT_S, check=False)


class Subscriber:
    """A running `mosquitto_sub`: each message is a line `topic<TAB>qos<TAB>retain<TAB>payload in hex`."""

    def __init__(self, address: tuple[str, int], version: int, *words: str) -> None:
        self.lines: Received[tuple[str, int, bool, bytes]] = Received()
        self.ready = threading.Event()
        command = _command("mosquitto_sub", address, version, "-F", "%t\t%q\t%r\t%x", "-d", *words)
        # Without line buffering nothing would be seen of the first messages.
        self._process = subprocess.Popen(
            ["stdbuf", "-oL", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "Subscribed" in line:
                self.ready.set()
            if line.count("\t") == 3:
                topic, qos, retain, payload = line.rstrip("\n").split("\t")
                self.lines.add((topic, int(qos), retain == "1", bytes.fromhex(payload)))

    def __enter__(self) -> Self:
        assert self.ready.wait(TIMEOUT_S), "mosquitto_sub did not subscribe"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        self._thread.join(TIMEOUT_S)
        self._process.stdout.close()
