"""status.txt on the drive: what this box is, where it is found, what is wrong. For whoever holds the card."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.system import run, writable

FILE = "status.txt"


def status_text(places: Places, addresses: list[str]) -> str:
    """The file's text."""
    try:
        release = json.loads(places.release.read_text())
        version = str(release["version"]) + (" (test build)" if release.get("test_key") else "")
    except (OSError, ValueError, KeyError, TypeError):
        version = "unknown"
    try:
        name = (places.root / "etc/hostname").read_text().strip()
    except OSError:
        name = socket.gethostname()
    lines = [
        "What this box was when it was last switched on.",
        "",
        f"name       {name}.local",
        f"page       http://{name}.local:7330/",
        f"version    {version}",
        *(f"address    {address}" for address in addresses or ["none yet"]),
        "",
    ]
    problems = read_problems(places)
    lines += ["What is wrong:", "", *(f"- {line}" for line in problems)] if problems else ["Nothing is wrong."]
    return "\r\n".join(lines) + "\r\n"


def own_addresses() -> list[str]:
    """The box's addresses, each with the socket it belongs to."""
    done = run("ip", "-json", "address", "show", "up")
    try:
        links = json.loads(done.stdout)
    except ValueError:
        return []
    found = [
        f"{address.get('local')} ({link.get('ifname')})"
        for link in (links if isinstance(links, list) else [])
        for address in link.get("addr_info", [])
        if address.get("scope") == "global" or (address.get("scope") == "link" and address.get("family") == "inet")
    ]
    return sorted(found)


def write_status(places: Places, addresses: list[str]) -> bool:
    """Bring the file up to date; whether it was written. What cannot be written is not: the box does without."""
    file: Path = places.firmware / FILE
    text = status_text(places, addresses).encode()
    try:
        if file.exists() and file.read_bytes() == text:
            return False
        with writable(places.firmware):
            file.write_bytes(text)
        return True
    except OSError as error:
        print(f"{FILE} could not be written to the card: {error}")
        return False
