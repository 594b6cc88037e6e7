"""What Mosquitto's broker scripts start in its place: a router with what the script's configuration asks for.

An option that has no counterpart here makes the script not applicable: its name is written to $AS_MOSQUITTO_NOTE.
"""

from __future__ import annotations

import os
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


def settings(lines: list[str]) -> dict[str, str]:
    """The settings of the router for a configuration file's lines."""
    found: dict[str, str] = {}
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name, value = words[0], words[1] if len(words) > 1 else ""
        if name in ("port", "listener"):
            if "mqtt.listen" in found:
                not_applicable("several listeners")
            found["mqtt.listen"] = f"127.0.0.1:{value}"
        elif name == "max_inflight_messages" and value != "0":
            found["mqtt.max_inflight"] = value
        elif name in NOTHING and value != "false":
            continue
        else:
            not_applicable(line)
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
    wanted |= {
        "data_dir": tempfile.mkdtemp(prefix="clasp-edge-peer-"),
        "websocket.listen": "127.0.0.1:0",
        "osc.listen": "off",
        "journal.mode": "volatile",
    }
    sets = [text for name, value in wanted.items() for text in ("--set", f"{name}={value}")]
    os.dup2(2, 1)  # the scripts read no line `ready`
    os.execv(sys.executable, [sys.executable, "-m", "clasp_edge", "run", *sets])


if __name__ == "__main__":
    main()
