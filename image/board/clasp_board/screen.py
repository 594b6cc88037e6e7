"""What a screen at the box shows: name, addresses, a QR code of the page, who may use it, and what is wrong.

Written for agetty, which prints it on the screen and on the serial console (agetty(8), issue.d). Fits into 80 by 25
characters. Asks the router one thing, whether it is open.
"""

from __future__ import annotations

import json
import socket
import textwrap

from clasp_board import qr
from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.system import run

FILE = "run/issue.d/50-clasp-edge.issue"
CONTROL = "run/clasp-edge/control.sock"
PORT = 7330

WIDTH, HEIGHT = 80, 25
FREE_LINES = 5
"""For the lines of the image itself (etc/issue), and the prompt."""

ASK_TIMEOUT_S = 5.0
LARGEST_ANSWER_BYTES = 1 << 20


def screen_text(name: str, addresses: list[str], is_open: bool, problems: list[str]) -> str:
    """The text. `addresses` are as `status.own_addresses` has them, each with its socket behind it."""
    hosts = [address.split(" ", 1)[0] for address in addresses]
    page = next((f"http://{_in_url(host)}:{PORT}/" for host in sorted(hosts, key=_rank)), "")
    beside = [f"Page: {page}" if page else "", f"or http://{name}.local:{PORT}/" if page else "", ""]
    if not page:
        beside = [
            "No network.",
            "",
            "Put a network cable in, or plug a laptop straight into the box: after a minute both have an address, and "
            f"the laptop's browser opens http://{name}.local:{PORT}/. For a wireless network: wifi.txt on the card.",
            "",
        ]
    beside += [f"Address: {address}" for address in addresses[:4]]
    if is_open:
        beside += ["", "OPEN to everyone in this network.", "Claim it: page, Set-up."]
    code: list[str] = []
    if page:
        try:
            code = qr.rows(qr.encode(page))
        except ValueError:
            code = []
    width = len(code[0]) if code else 0
    lines = [part for line in beside for part in textwrap.wrap(line, WIDTH - width - 3, break_on_hyphens=False) or [""]]
    rows = [
        f"{code[n] if n < len(code) else ' ' * width}  {lines[n] if n < len(lines) else ''}".rstrip()
        for n in range(max(len(code), len(lines)))
    ]
    room = HEIGHT - FREE_LINES - len(rows)
    wrong = [
        part
        for line in problems
        for part in textwrap.wrap(f"! {line}", WIDTH - 4, subsequent_indent="  ", break_on_hyphens=False)
    ]
    if len(wrong) > room:
        wrong = [*wrong[: max(room - 1, 0)], "  ... the rest is in status.txt on the card, and on the page"]
    return "\n".join([*rows, *(f"  {line}" for line in wrong)]) + "\n"


def write_early_screen(places: Places) -> None:
    """What is known before there are a network and a router."""
    problems = "".join(f"  ! {line}\n" for line in read_problems(places))
    _write(places, f"  The router starts: a minute or two.\n{problems}")


def write_screen(places: Places, addresses: list[str], *, is_open: bool) -> bool:
    """Bring the screen up to date; whether there was something new."""
    try:
        name = (places.root / "etc/hostname").read_text().strip()
    except OSError:
        name = socket.gethostname()
    if not _write(places, screen_text(name, addresses, is_open, read_problems(places))):
        return False
    run("agetty", "--reload", timeout_s=10)
    return True


def _write(places: Places, text: str) -> bool:
    path = places.root / FILE
    # agetty takes a backslash for one of its own signs.
    issue = "".join(c for c in text if c.isprintable() or c == "\n").replace("\\", "\\\\")
    try:
        if path.exists() and path.read_text(errors="replace") == issue:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(issue)
    except OSError as error:
        print(f"the screen could not be written: {error}")
        return False
    return True


def router_is_open(places: Places) -> bool:
    """Whether everybody may use the router; not said of one that does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(ASK_TIMEOUT_S)
            control.connect(str(places.root / CONTROL))
            control.sendall(b'{"request": "status"}\n')
            said = b""
            while not said.endswith(b"\n") and len(said) < LARGEST_ANSWER_BYTES:
                piece = control.recv(65536)
                if not piece:
                    break
                said += piece
        router = json.loads(said)["result"]["router"]
        return bool(router["security"] == "open")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _rank(host: str) -> int:
    """What a phone in the same network can open, the best first."""
    return 2 if host.startswith("169.254.") else 1 if ":" in host else 0
