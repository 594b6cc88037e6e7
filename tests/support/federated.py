"""Routers that are linked, as processes on loopback: a hub, boxes below it, and what stands in their status.

Knows the configuration of an uplink; what must be the same where is the tests' business.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from support.client import WsClient
from support.console import clasp_edge
from support.daemon import Daemon
from support.live import eventually, get

from clasp_edge import wire

JOURNAL = {"journal.mode": "group", "journal.commit_interval_ms": 20}


def uplink(url: str | Iterable[str], name: str = "hub", **settings: object) -> str:
    """The text of `[uplink.NAME]`. `policy` is a dict."""
    lines = [f"[uplink.{name}]", f"url = {json.dumps(url if isinstance(url, str) else list(url))}"]
    for key, value in settings.items():
        if isinstance(value, dict):
            pairs = ", ".join(f"{json.dumps(pattern)} = {json.dumps(policy)}" for pattern, policy in value.items())
            lines.append(f"{key} = {{ {pairs} }}")
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def box(*uplinks: str, sets: dict[str, object] | None = None, mqtt: bool = False, extra: str = "") -> Daemon:
    """A daemon with these uplinks, not started."""
    return Daemon(config=extra + "\n" + "".join(uplinks), sets=sets, mqtt=mqtt)


def client(daemon: Daemon, name: str = "client", token: str | None = None) -> WsClient:
    """Somebody who has said HELLO and has read what came with WELCOME."""
    joined = WsClient(daemon.ws_url).hello(name, token=token)
    joined.sync()
    return joined


def value(daemon: Daemon, address: str) -> wire.Value:
    """A param as the daemon has it; None for none (no test here tells a param that is null from none)."""
    with client(daemon) as asking:
        param = get(asking, address)
    return param.value if param is not None else None


def await_value(daemon: Daemon, address: str, wanted: wire.Value, timeout: float = 10.0) -> None:
    """Until the daemon has this param with this value (None: has none)."""
    with client(daemon) as asking:

        def there() -> bool:
            param = get(asking, address)
            return (param.value if param is not None else None) == wanted

        eventually(there, timeout)


def await_stored(daemon: Daemon, pattern: str, count: int) -> None:
    """Until so many records of these addresses are in the daemon's log on the disk, where a kill leaves them."""

    def stored() -> bool:
        told = clasp_edge("journal", "dump", "--set", f"data_dir={daemon.data_dir}", pattern)
        assert told.returncode == 0, told.stderr
        return len(told.stdout.splitlines()) >= count

    eventually(stored)


def state(daemon: Daemon, name: str = "hub", key: str = "state") -> wire.Value:
    """What the daemon says of its uplink."""
    return value(daemon, f"/clasp-edge/uplinks/{name}/{key}")


def await_up(daemon: Daemon, *names: str) -> None:
    """Until the links are up and their states settled."""
    for name in names or ("hub",):
        await_value(daemon, f"/clasp-edge/uplinks/{name}/state", "up", 15.0)


def await_down(daemon: Daemon, name: str = "hub") -> None:
    """Until the link is seen to be gone."""
    with client(daemon) as asking:

        def gone() -> bool:
            param = get(asking, f"/clasp-edge/uplinks/{name}/state")
            return param is not None and param.value != "up"

        eventually(gone)


def await_error(daemon: Daemon, *words: str, name: str = "hub", timeout: float = 30.0) -> str:
    """Until the link's last error has all these words; it must be in the log too. The whole sentence."""
    with client(daemon) as asking:

        def said() -> str:
            param = get(asking, f"/clasp-edge/uplinks/{name}/last_error")
            text = str(param.value) if param is not None else ""
            return text if all(word in text for word in words) else ""

        text = eventually(said, timeout)
    assert text.split(": ", 1)[-1] in daemon.stderr, f"not in the log: {text}"
    return text


@contextmanager
def frozen(*daemons: Daemon) -> Iterator[None]:
    """As with a network that is gone: nothing is said, nothing is heard."""
    for daemon in daemons:
        daemon.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for daemon in daemons:
            daemon.signal(signal.SIGCONT)
