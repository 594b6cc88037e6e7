"""clasp-edge-box.zip: the settings of one box, for another. Made by `clasp-edge-box`, taken from the card at a start.

What belongs to one box alone is left out: its name, its addresses, its identity, the tokens that were made on its page.
Secrets stay where they are unless they are asked for. A file that comes is somebody else's: only names that the card
knows are taken from it, in sizes that it allows, and every text is judged afterwards as if somebody had typed it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import stat
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

from clasp_board import folders, secrets, settings, toml
from clasp_board.daemon_files import CONFIG, SHOW, TLS
from clasp_board.lines import decode, says_nothing
from clasp_board.places import Places
from clasp_board.problems import add_problem
from clasp_board.settings import HOST_NAME, KEYS, LARGEST_BYTES, NETWORK, WIFI
from clasp_board.system import writable, write_atomically

FILE = "clasp-edge-box.zip"
PAGE_SETTINGS = "settings.toml"
"""What was changed on the page; below the data partition's clasp-edge/."""

ABOUT = "README.txt"
TAKEN = (WIFI, NETWORK, KEYS, CONFIG, PAGE_SETTINGS)

LARGEST_ZIP_BYTES = 2 << 20
MOST_BYTES = 4 << 20
"""Of all files unpacked: 69 of the largest size could be four times as much, real ones have a few KiB."""

MOST_ENTRIES = 2 * folders.MOST + 32
EPOCH = (1980, 1, 1, 0, 0, 0)

OWN_LINE = re.compile(r"^(\s*)((?:address|gateway)\s*=.*)$", re.IGNORECASE | re.MULTILINE)
OWN_NAME = re.compile(r"""^(\s*name\s*=\s*("[^"\n]*"|'[^'\n]*')\s*(?:#.*)?)$""", re.MULTILINE)
OTHERS = "# of the other box: "
LEFT_BY_LAPTOPS = ("__MACOSX/", ".DS_Store")


def main(arguments: list[str], places: Places | None = None) -> int:
    """Write the file to standard output; 0, or 1 with a sentence."""
    parser = argparse.ArgumentParser(prog="clasp-edge-box", description="Write this box's settings, for another box.")
    parser.add_argument("--with-secrets", action="store_true", help="passwords, tokens and private keys too")
    given = parser.parse_args(arguments)
    if sys.stdout.isatty():
        print(f"This is a zip file: clasp-edge-box > {FILE}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(make_box(places or Places(), with_secrets=given.with_secrets))
    return 0


def make_box(places: Places, *, with_secrets: bool) -> bytes:
    """The settings in force; the same ones give the same bytes."""
    texts: dict[str, str] = {}
    missing = list[str]()
    names = [WIFI, NETWORK, KEYS, CONFIG]
    for folder in (TLS, SHOW):
        names += folders.files_in(folder, places.accepted)[0]
    for name in names:
        try:
            text = (places.accepted / name).read_text()
        except (OSError, ValueError):
            continue
        without = _redacted(name, text)
        if not with_secrets and without != text:
            missing.append(name)
            if name.startswith(TLS):
                continue  # a certificate is of no use without its key, and belongs to a name that stays here
            text = without
        texts[name] = _without_own(name, text)
    with suppress(OSError, ValueError):
        changed = (places.data / "clasp-edge" / PAGE_SETTINGS).read_text()
        texts[PAGE_SETTINGS] = _without_own(CONFIG, changed)
    texts[ABOUT] = _about(places, texts, missing)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as box:
        for name, text in sorted(texts.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = (stat.S_IFREG | 0o600) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            box.writestr(entry, text.replace("\n", "\r\n"))
    return target.getvalue()


def _redacted(name: str, text: str) -> str:
    if name == WIFI:
        return secrets.redact_wireless(text)
    if name.startswith(TLS):
        return folders.redact_pem(text)
    return secrets.redact_toml(text) if name.endswith(".toml") else text


def _without_own(name: str, text: str) -> str:
    """Two boxes with one name or address would be in each other's way."""
    if name in (WIFI, NETWORK):
        return OWN_LINE.sub(rf"\1{OTHERS}\2", text)
    if name == CONFIG:
        head, table, rest = re.match(r"(?s)(.*?)(^\s*\[|\Z)(.*)", text, re.MULTILINE).groups()  # type: ignore[union-attr]
        return OWN_NAME.sub(rf"{OTHERS}\1", head) + table + rest
    return text


def _about(places: Places, texts: dict[str, str], missing: list[str]) -> str:
    try:
        name = (places.root / "etc/hostname").read_text().strip()
    except OSError:
        name = "another box"
    try:
        version = str(json.loads(places.release.read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        version = "unknown"
    lines = [
        f"The settings of {name}, clasp-edge {version}, for another box.",
        "",
        f"Put this file on the other box's card as it is ({FILE}, not unpacked), and switch the box on.",
        "",
        f"In it: {', '.join(texts) or 'nothing'}.",
        "Not in it: the name of the box, its own addresses, a certificate that it made, tokens made on its page.",
    ]
    if missing:
        lines += [f"Secrets are left out of: {', '.join(missing)}. The other box asks for them in problems.txt."]
    if CONFIG in texts:
        lines += [
            'Look at "namespace" and "owns" in clasp-edge.toml: two boxes below one hub need addresses of their own.'
        ]
    return "\n".join(lines) + "\n"


def take_over_box(places: Places, *, persistent: bool) -> None:
    """Write what the file on the card says into the box's own files there, and take it away.

    In this order, so that a power cut in between has it done once more. One with a fault is not used at all, nor is any
    where nothing can be kept.
    """
    path = places.firmware / FILE
    try:
        for entry in sorted(places.firmware.glob("[Cc]lasp-edge-box*")):
            if entry.name != FILE:
                add_problem(
                    places, f'"{entry.name}" is not read: the settings of another box come as {FILE}, not unpacked.'
                )
        if not path.is_file():
            return
        if not persistent:
            raise ValueError("the box cannot keep anything, so it waits")
        size = path.stat().st_size
        if not size:
            raise ValueError("is empty, as if the card had been pulled too early")
        if size > LARGEST_ZIP_BYTES:
            raise ValueError("is far too large")
        found = read_box(path.read_bytes())
        with writable(places.firmware):
            for name, raw in found.items():
                _take(places, name, raw)
            _erase(path)
    except ValueError as error:
        add_problem(places, f"{FILE}: {error}. Nothing of it is used.")
    except OSError as error:
        add_problem(places, f"{FILE}: could not be taken over ({error.strerror or error}).")


def read_box(raw: bytes) -> dict[str, bytes]:
    """What is in it, by name. Raises ValueError with the reason for which it is refused as a whole."""
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as box:
            entries = box.infolist()
            if len(entries) > MOST_ENTRIES:
                raise ValueError(f"has more than {MOST_ENTRIES} files in it")
            left = MOST_BYTES
            for entry in entries:
                name = _judged(entry)
                if not name:
                    continue
                if name in found:
                    raise ValueError(f'"{name}" is in it twice')
                # What it says of its sizes may be wrong; no more than this is ever unpacked.
                with box.open(entry) as file:
                    content = file.read(min(LARGEST_BYTES, left) + 1)
                left -= len(content)
                if len(content) > LARGEST_BYTES or left < 0:
                    raise ValueError(f'"{name}" in it is far too large')
                if content:  # an empty one withdraws nothing
                    decode(content)
                    found[name] = content
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError):
        raise ValueError("is damaged, or no zip file; please copy it again") from None
    if not found:
        raise ValueError("has no settings of a box in it")
    return found


def _judged(entry: zipfile.ZipInfo) -> str:
    """The name that it is taken by; empty for what is passed over. Raises ValueError."""
    name = entry.filename
    if name.startswith(LEFT_BY_LAPTOPS) or name.endswith(LEFT_BY_LAPTOPS) or name in (TLS, SHOW, ABOUT, HOST_NAME):
        return ""
    folder, _, inner = name.rpartition("/")
    in_folder = (
        f"{folder}/" in folders.ENDS
        and folders.NAME.fullmatch(inner) is not None
        and inner.endswith(folders.ENDS[f"{folder}/"])
    )
    if name not in TAKEN and not in_folder:
        shown = "".join(c if c.isprintable() else "?" for c in name[:80])
        raise ValueError(f'"{shown}" in it is no setting of a box')
    if entry.flag_bits & 1:
        raise ValueError("has a password, which nobody can type at a box")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ValueError(f'"{name}" in it is not an ordinary file')
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("is packed in a way that the box does not know; please save it as an ordinary zip file")
    return name


def _take(places: Places, name: str, raw: bytes) -> None:
    if name == PAGE_SETTINGS:
        _take_page_settings(places, decode(raw))
        return
    path = places.firmware / name
    if _was_written_since(places, path, name, raw):
        add_problem(places, f"{name}: somebody has written it on the card, so that of {FILE} is not used.")
        return
    path.parent.mkdir(exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(raw)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _was_written_since(places: Places, path: Path, name: str, raw: bytes) -> bool:
    """Whether the card has a file of its own that the box has not read yet and that says something else."""
    try:
        own = path.read_bytes()
        return own != raw and not settings.was_read(places, name, own) and not says_nothing(decode(own))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True


def _take_page_settings(places: Places, text: str) -> None:
    """The router judges them when it starts, and leaves out what does not go with its files."""
    try:
        toml.load(text)
    except ValueError as error:
        add_problem(places, f"{PAGE_SETTINGS} in {FILE}: {error}; it is not used.")
        return
    target = places.data / "clasp-edge" / PAGE_SETTINGS
    write_atomically(target, text.encode(), 0o600)
    with suppress(LookupError, PermissionError):
        shutil.chown(target, "clasp-edge", "clasp-edge")


def _erase(path: Path) -> None:
    """With what it says: it may have secrets in it."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
