"""What Mosquitto's broker scripts start in its place: a router with what the script's configuration asks for.

An option that has no counterpart here makes the script not applicable: its name is written to $AS_MOSQUITTO_NOTE.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

NOTHING = {
    "allow_anonymous", "log_type", "log_dest", "connection_messages", "retain_available", "max_queued_messages",
    "set_tcp_nodelay", "sys_interval",
}  # fmt: skip
"""Options without a meaning here, or with their value as ours. `false` makes the first and the third another matter."""


def not_applicable(why: str) -> NoReturn:
    Path(os.environ["AS_MOSQUITTO_NOTE"]).write_text(why)
    sys.exit(3)


TLS = {"certfile": "tls.certificate", "keyfile": "tls.key", "cafile": "tls.client_ca"}


def _data_dir(file: Path) -> Path:
    """What stands for Mosquitto's file: gone where a script has removed the file."""
    place = Path(f"{file}.data").resolve()
    if not file.exists():
        shutil.rmtree(place, ignore_errors=True)
        file.touch()
    return place


def settings(lines: list[str]) -> dict[str, str]:
    """The settings of the router for a configuration file's lines. Raises SystemExit where it has no counterpart."""
    found: dict[str, str] = {}
    listeners: list[dict[str, str]] = []
    asks_for_certificate = False
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name, value = words[0], words[1] if len(words) > 1 else ""
        if name in ("port", "listener"):
            listeners.append({"port": value})
        elif name in TLS and listeners:
            listeners[-1][TLS[name]] = str(Path(value).resolve())
        elif name == "require_certificate":
            asks_for_certificate = value == "true"
        elif name == "persistence" and value == "true":
            found["journal.mode"] = "strict"
        elif name == "persistence_file":
            found["data_dir"] = str(_data_dir(Path(value)))
        elif name == "max_connections":
            found["limits.max_sessions"] = value
        elif name == "max_inflight_messages" and value != "0":
            found["mqtt.max_inflight"] = value
        elif name in NOTHING and value != "false":
            continue
        else:
            not_applicable(line)
    for listener in listeners:
        key = "mqtt.tls_listen" if "tls.certificate" in listener else "mqtt.listen"
        if key in found:
            not_applicable("several listeners")
        found[key] = f"127.0.0.1:{listener.pop('port')}"
        if not asks_for_certificate:
            listener.pop("tls.client_ca", None)
        found |= listener
    return found


def main() -> None:
    """Become the router."""
    arguments = sys.argv[1:]
    wanted: dict[str, str] = {}
    while arguments:
        option = arguments.pop(0)
        if option == "-p":
            wanted["mqtt.listen"] = f"127.0.0.1:{arguments.pop(0)}"
        elif option == "-c":
            wanted = settings(Path(arguments.pop(0)).read_text().splitlines())
        elif option != "-v":
            not_applicable(option)
    wanted.setdefault("mqtt.listen", "127.0.0.1:1883")
    wanted = {
        "data_dir": tempfile.mkdtemp(prefix="clasp-edge-peer-"),
        "websocket.listen": "127.0.0.1:0",
        "osc.listen": "off",
        "journal.mode": "volatile",
    } | wanted
    sets = [text for name, value in wanted.items() for text in ("--set", f"{name}={value}")]
    os.dup2(2, 1)  # the scripts read no line `ready`
    os.execv(sys.executable, [sys.executable, "-m", "clasp_edge", "run", *sets])


if __name__ == "__main__":
    main()
