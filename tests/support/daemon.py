"""The real daemon as a subprocess on free ports, with a data directory of its own.

Knows the command line, the `ready` line and the signals; nothing of the protocol. Every wait is bounded.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

PROJECT_ROOT = Path(__file__).resolve().parents[2]

READY_TIMEOUT_S = 40.0
"""Far above what a start takes: other tests may keep the machine busy."""

STOP_TIMEOUT_S = 30.0
POLL_S = 0.01


_KEYS = {
    "ws": "websocket.listen",
    "osc+tcp": "osc.tcp_listen",
    "wss": "websocket.tls_listen",
    "mqtts": "mqtt.tls_listen",
    "tcps": "tcp.tls_listen",
}
"""The configuration keys of listeners that are not named after the scheme in the `ready` line."""


class Manager(Protocol):
    """Who starts the daemon in a way of its own (support.service_manager)."""

    def command(self, command: list[str]) -> list[str]: ...

    def environment(self) -> dict[str, str]: ...

    def descriptors(self) -> tuple[int, ...]: ...


class DaemonFailed(AssertionError):
    """The process ended, or did not say what it should; carries what it printed."""


class Daemon:
    """One `clasp-edge run`. A context manager: started on entry; on exit stopped, which must end with status 0.

    ``sets`` maps configuration keys to values (`{"limits.max_params": 5}`) and wins over everything. ``tcp`` opens the
    TCP listener, ``mqtt`` the MQTT listener, ``osc`` serves OSC over UDP. ``messages_per_second`` 0 means
    unlimited, None leaves it to the configuration. ``config`` is the text of a configuration file. ``manager`` is who
    starts it.
    """

    def __init__(
        self,
        *,
        tcp: bool = False,
        mqtt: bool = False,
        osc: bool = False,
        messages_per_second: int | None = 0,
        sets: dict[str, object] | None = None,
        config: str | None = None,
        manager: Manager | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="clasp-edge-test-"))
        self.data_dir = self.directory / "data"
        self.sets: dict[str, object] = {
            "websocket.listen": "127.0.0.1:0",
            "tcp.listen": "127.0.0.1:0" if tcp else "off",
            "mqtt.listen": "127.0.0.1:0" if mqtt else "off",
            "osc.listen": "127.0.0.1:0" if osc else "off",
            "data_dir": self.data_dir,
            "journal.mode": "off",
            **({} if messages_per_second is None else {"limits.messages_per_second": messages_per_second}),
            **(sets or {}),
        }
        self._config_path: Path | None = None
        if config is not None:
            self._config_path = self.directory / "clasp-edge.toml"
            self._config_path.write_text(config)
        self._manager = manager
        self._process: subprocess.Popen[bytes] | None = None
        self._listens: dict[str, str] = {}
        self._starts = 0

    # ---- life ----

    def start(self) -> Self:
        """Start and wait for the `ready` line. Started again, it takes the ports it had before."""
        assert self._process is None, "already running"
        command = [sys.executable, "-m", "clasp_edge", "run"]
        if self._config_path is not None:
            command += ["--config", str(self._config_path)]
        bound = {_KEYS.get(scheme, f"{scheme}.listen"): at for scheme, at in self._listens.items()}
        for key, value in (self.sets | bound).items():
            command += ["--set", f"{key}={value}"]
        environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "PYTHONUNBUFFERED": "1"}
        descriptors: tuple[int, ...] = ()
        if self._manager is not None:
            command = self._manager.command(command)
            environment |= self._manager.environment()
            descriptors = self._manager.descriptors()
        self._starts += 1
        # Files, not pipes: nobody has to read them for the daemon to go on.
        with self._output("stdout").open("wb") as stdout, self._output("stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.directory,
                env=environment,
                pass_fds=descriptors,
            )
        self._await_ready(self._process)
        return self

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while True:
            ended = process.poll() is not None
            for line in self.stdout.splitlines(keepends=True):
                if line.startswith("ready") and line.endswith("\n"):
                    self._listens = dict(address.split("://", 1) for address in line.split()[1:])
                    return
            if ended or time.monotonic() > deadline_s:
                self.kill()
                raise DaemonFailed(f"the daemon did not get ready\n{self._said()}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """SIGTERM; it must end with status 0 (in time)."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DaemonFailed(
                f"the daemon did not end within {STOP_TIMEOUT_S:g} s of SIGTERM\n{self._said()}"
            ) from None
        self._process = None
        if status != 0:
            raise DaemonFailed(f"the daemon ended with status {status}\n{self._said()}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def restart(self) -> None:
        """SIGKILL and start again on the same ports."""
        self.kill()
        self.start()

    def hangup(self) -> None:
        """SIGHUP: re-read the configuration."""
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        """Send any signal."""
        assert self._process is not None, "not running"
        self._process.send_signal(number)

    def close(self) -> None:
        """Kill it if it still runs, and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.assert_healthy()
                self.stop()
        finally:
            self.close()

    # ---- what it is and says ----

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def ws_url(self) -> str:
        """`ws://127.0.0.1:PORT`."""
        return f"ws://{self._listens['ws']}"

    @property
    def ws_address(self) -> tuple[str, int]:
        """Host and port of the WebSocket listener."""
        return _split(self._listens["ws"])

    @property
    def tcp_address(self) -> tuple[str, int]:
        """Host and port of the TCP listener."""
        return _split(self._listens["tcp"])

    @property
    def quic_address(self) -> tuple[str, int]:
        """Host and port of the QUIC listener (UDP)."""
        return _split(self._listens["quic"])

    @property
    def osc_address(self) -> tuple[str, int]:
        """Host and port of the OSC listener (UDP)."""
        return _split(self._listens["osc"])

    @property
    def osc_tcp_address(self) -> tuple[str, int]:
        """Host and port of the OSC listener for TCP."""
        return _split(self._listens["osc+tcp"])

    @property
    def mqtt_address(self) -> tuple[str, int]:
        """Host and port of the MQTT listener."""
        return _split(self._listens["mqtt"])

    def address_of(self, scheme: str) -> str:
        """`host:port` of the listener that the `ready` line names so."""
        return self._listens[scheme]

    def address_pair(self, scheme: str) -> tuple[str, int]:
        """The same as host and port."""
        return _split(self._listens[scheme])

    @property
    def control_path(self) -> Path:
        """Its control socket, unless the configuration puts it elsewhere."""
        return self.data_dir / "control.sock"

    @property
    def stdout(self) -> str:
        """What the newest run has printed so far."""
        return self._output("stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What the newest run has logged so far."""
        return self._output("stderr").read_text(errors="replace")

    def assert_healthy(self) -> None:
        """It must be running and have logged no traceback."""
        if not self.running or "Traceback" in self.stderr:
            raise DaemonFailed(f"the daemon is not well\n{self._said()}")

    def _output(self, name: str) -> Path:
        return self.directory / f"{name}.{self._starts}"

    def _said(self) -> str:
        return f"--- stdout ---\n{self.stdout}--- stderr ---\n{self.stderr}"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
