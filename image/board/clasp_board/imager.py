"""What Raspberry Pi Imager leaves on a card, taken for what it means: name, keys for SSH, wireless network, time zone.

Imager writes a script that an installed Raspberry Pi OS runs at its first start (firstrun.sh), or files for cloud-init
(user-data, network-config). Nothing of it is run here: what it says becomes lines in the box's own files on the card,
which are then read as if somebody had typed them, and what Imager has written is taken away, since it holds secrets.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from clasp_board import fields, wired, wireless
from clasp_board.lines import decode, says_nothing
from clasp_board.places import Places
from clasp_board.problems import add_problem
from clasp_board.settings import HOST_NAME, KEYS, LARGEST_BYTES, NETWORK, WIFI
from clasp_board.system import writable

SCRIPT, USER_DATA, NETWORK_CONFIG, META_DATA = "firstrun.sh", "user-data", "network-config", "meta-data"
FILES = (SCRIPT, USER_DATA, NETWORK_CONFIG, META_DATA)
CMDLINES = ("cmdline.txt", "pi5/cmdline.txt")

# Begun where blanks begin: else each blank of a long row of them would be tried as the first.
ADDED = re.compile(r"(?<!\s)\s+(systemd\.run\S*=\S*|systemd\.unit=kernel-command-line\.target|ds=nocloud\S*)")
"""What Imager puts behind the kernel's command line."""

REGION = re.compile(r"cfg80211\.ieee80211_regdom=([A-Z]{2})")
ACCESS_POINT = re.compile(r"(\".*\"|'.*'|[^:]+):(\s*\{\s*\})?")
MOST_CALLS = 32
LONGEST_CALL_LINES = 16
LONGEST_CALL = 16 * 1024
MOST_READ = 256 * 1024
"""Characters that the shell's rules are applied to, of all calls and their attempts together."""
MOST_NETWORKS = 32
MOST_KEYS = 64
HEAD = "# Written by the box from what Raspberry Pi Imager was told. Change it as you like.\n"


@dataclass
class Wish:
    """What somebody has asked Imager for; empty where nothing was said."""

    host_name: str = ""
    keys: list[str] = field(default_factory=list)
    country: str = ""
    networks: list[tuple[str, str]] = field(default_factory=list)
    """Name, and password or key."""
    timezone: str = ""

    def files(self) -> dict[str, str]:
        """The box's own files that say the same."""
        texts = {}
        if self.host_name:
            texts[HOST_NAME] = f"{HEAD}{self.host_name}\n"
        if self.keys:
            texts[KEYS] = HEAD + "".join(f"{key}\n" for key in self.keys)
        if self.networks:
            lines = [f"country = {self.country}"] if self.country else []
            for name, password in self.networks:
                lines += [f'name = "{name}"', *([f'password = "{password}"'] if password else [])]
            texts[WIFI] = HEAD + "\n".join(lines) + "\n"
        if self.timezone:
            texts[NETWORK] = f"{HEAD}timezone = {self.timezone}\n"
        return texts


def take_over_imager(places: Places) -> None:
    """Write what Imager's files say into the box's own, and take them away.

    The box's own files come first: one that says something stays as it is. In this order, so that a power cut in
    between has it done once more.
    """
    present = [name for name in FILES if (places.firmware / name).is_file()]
    cmdlines = {name: _read(places.firmware / name) for name in CMDLINES}
    if not present and not any(ADDED.search(text) for text in cmdlines.values()):
        return
    try:
        wish = read_wish({name: _read(places.firmware / name) for name in present}, " ".join(cmdlines.values()))
        with writable(places.firmware):
            for name, wished in wish.files().items():
                text = wished
                free = _is_free(places.firmware / name)
                if reason := _wrong(name, text):
                    kept = f" It stands in {name} behind #: mend it there, and take the # away." if free else ""
                    add_problem(places, f"What Raspberry Pi Imager was told of {name} is not used: {reason}.{kept}")
                    text = _commented_out(text, reason)
                if free:
                    _write(places.firmware / name, text.replace("\n", "\r\n").encode())
            for name in present:
                _erase(places.firmware / name)
            for name, text in cmdlines.items():
                if ADDED.search(text):
                    _write(places.firmware / name, ADDED.sub("", text).encode())
    except OSError as error:
        add_problem(places, f"What Raspberry Pi Imager has put on the card could not be taken over: {error}.")


def _commented_out(text: str, reason: str) -> str:
    """Nobody has to remember what was typed: Imager's own file, which had it, is erased."""
    lines = [f"# It is not used: {' '.join(reason.split())}.", *text.removeprefix(HEAD).rstrip("\n").split("\n")]
    return HEAD + "".join(f"{line if line.startswith('#') else f'# {line}'}\n" for line in lines)


def read_wish(texts: dict[str, str], cmdline: str = "") -> Wish:
    """What these files ask for, by their names; what is not understood is passed over."""
    wish = Wish()
    _read_script(texts.get(SCRIPT, ""), wish)
    _read_user_data(texts.get(USER_DATA, ""), wish)
    _read_network_config(texts.get(NETWORK_CONFIG, ""), wish)
    if not wish.country and (found := REGION.search(cmdline)):
        wish.country = found[1]
    return wish


def _read_script(text: str, wish: Wish) -> None:
    lines = text.split("\n")
    calls, left = 0, MOST_READ
    for number, line in enumerate(lines):
        stripped = line.strip()
        if "imager_custom" in stripped and not stripped.startswith("if "):
            calls += 1
            if calls <= MOST_CALLS:
                words, read = _words(lines, number, left)
                left -= read
                _take_call(words, wish)
        elif found := re.fullmatch(r"echo (\S+) >/etc/hostname", stripped):
            wish.host_name = wish.host_name or found[1]
        elif found := re.fullmatch(r"country=([A-Za-z]{2})", stripped):
            wish.country = wish.country or found[1]
        elif found := re.fullmatch(r'ssid="(.*)"', stripped):
            password = re.search(r'^\s*psk=(".*"|\S+)\s*$', "\n".join(lines[number : number + 6]), re.MULTILINE)
            _add_network(wish, found[1], password[1].strip('"') if password else "")


def _words(lines: list[str], number: int, left: int) -> tuple[list[str], int]:
    """The call that begins in this line, which a quoted text may lead over several; and how much of `left` was read."""
    call, read = "", 0
    for line in lines[number : number + LONGEST_CALL_LINES]:
        call += line + "\n"
        if len(call) > LONGEST_CALL or read + len(call) > left:
            break
        read += len(call)
        try:
            words = shlex.split(call)
        except ValueError:
            continue
        at = next((i for i, word in enumerate(words) if word.endswith("imager_custom")), len(words))
        return words[at + 1 :], read
    return [], read


def _take_call(words: list[str], wish: Wish) -> None:
    match words:
        case ["set_hostname", name, *_]:
            wish.host_name = name
        case ["enable_ssh", "-k", *keys]:
            _add_keys(wish, keys)
        case ["set_wlan", *rest]:
            given = [word for word in rest if word not in ("-h", "-p", "--hidden", "--plain")]
            if given:
                _add_network(wish, given[0], given[1] if len(given) > 1 else "")
                wish.country = given[2] if len(given) > 2 else wish.country
        case ["set_timezone", zone, *_]:
            wish.timezone = zone


def _read_user_data(text: str, wish: Wish) -> None:
    for line in text.split("\n"):
        if found := re.fullmatch(r"hostname:\s*(\S+)\s*", line):
            wish.host_name = _plain(found[1])
        elif found := re.fullmatch(r"timezone:\s*(\S+)\s*", line):
            wish.timezone = _plain(found[1])
        elif found := re.fullmatch(r"\s*-\s+(.*)", line):
            key = _plain(found[1].strip())
            if key.startswith(fields.KEY_TYPES):
                _add_keys(wish, [key])


def _read_network_config(text: str, wish: Wish) -> None:
    points, name = -1, ""
    """How far `access-points:` is indented, and the network that the lines below are of."""
    for line in text.split("\n"):
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if found := re.fullmatch(r"regulatory-domain:\s*(\S+)", stripped):
            wish.country = _plain(found[1])
        if stripped == "access-points:":
            points, name = depth, ""
        elif points >= 0 and stripped and depth <= points:
            points, name = -1, ""
        elif points >= 0 and (found := re.fullmatch(r"password:\s*(.+)", stripped)):
            if name:
                wish.networks = [one for one in wish.networks if one[0] != name]
                _add_network(wish, name, _plain(found[1]))
        elif (
            points >= 0
            and (found := re.fullmatch(r"(\".*\"|'.*'|[^:]+):(\s*\{\s*\})?", stripped))
            and found[1] != "auth"
        ):
            name = _plain(found[1])
            _add_network(wish, name, "")


def _plain(text: str) -> str:
    """A scalar of YAML, as far as Imager writes them."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


def _add_keys(wish: Wish, texts: list[str]) -> None:
    for key in "\n".join(texts).split("\n"):
        if key.strip() and len(wish.keys) < MOST_KEYS and key.strip() not in wish.keys:
            wish.keys.append(key.strip())


def _add_network(wish: Wish, name: str, password: str) -> None:
    if name and len(wish.networks) < MOST_NETWORKS and name not in (known for known, _ in wish.networks):
        wish.networks.append((name, password))


def _wrong(name: str, text: str) -> str:
    try:
        match name:
            case "hostname.txt":
                fields.read_host_name(text)
            case "ssh-keys.txt":
                fields.read_keys(text)
            case "wifi.txt":
                wireless.read_wireless(text)
            case _:
                wired.read_wired(text)
    except ValueError as error:
        return str(error)
    return ""


def _is_free(path: Path) -> bool:
    """Whether the box's own file says nothing, so that Imager's word holds."""
    try:
        return not path.exists() or says_nothing(decode(path.read_bytes()))
    except ValueError:
        return False


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return ""
        return path.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""


def _erase(path: Path) -> None:
    """Take a file away with what it says."""
    _write(path, b"\n" * path.stat().st_size)
    path.unlink()


def _write(path: Path, content: bytes) -> None:
    """In place, so that nothing of what was there stays on the card."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
