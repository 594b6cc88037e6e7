"""Takes settings over from the files on the card: each is checked, kept if it is right, and named if it is wrong.

A file with a mistake is not used at all; what was right before stays in force. Knows the files and how to check them,
not what is then done with them (apply.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass

from clasp_board import fields, secrets
from clasp_board.places import Places
from clasp_board.problems import add_problem
from clasp_board.system import run, writable, write_atomically

CONFIG = "clasp-edge.toml"
HOST_NAME = "hostname.txt"
WIFI = "wifi.txt"
NETWORK = "network.txt"
KEYS = "ssh-keys.txt"

BEFORE = ".before"
"""Added to the name of the configuration that was in force before the one that is on probation."""

SEEN = "seen.json"
LARGEST_BYTES = 256 * 1024

PRIVATE = 0o600


@dataclass(frozen=True)
class _File:
    name: str
    check: Callable[[Places, str], None]
    """Raises ValueError."""
    redact: Callable[[str], str] = lambda text: text
    restore: Callable[[str, str | None], tuple[str, list[str]]] = lambda text, kept: (text, [])


def check_config(places: Places, text: str) -> None:
    """Let the daemon itself judge its configuration. Raises ValueError with its words."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(str(error)) from None
    trial = places.run / "trial.toml"
    write_atomically(trial, text.encode(), PRIVATE)
    try:
        done = run(places.root / "usr/bin/clasp-edge", "check", "--config", trial)
        if done.returncode:
            said = done.stdout.replace(f"{trial}: ", "").strip()
            raise ValueError("; ".join(said.splitlines()) or "the daemon refuses it")
    finally:
        trial.unlink(missing_ok=True)


FILES = (
    _File(CONFIG, check_config, secrets.redact_toml, secrets.restore_toml),
    _File(HOST_NAME, lambda _places, text: void(fields.read_host_name(text))),
    _File(
        WIFI, lambda _places, text: void(fields.read_wireless(text)), secrets.redact_wireless, secrets.restore_wireless
    ),
    _File(NETWORK, lambda _places, text: void(fields.read_wired(text))),
    _File(KEYS, lambda _places, text: void(fields.read_keys(text))),
)


def void(_result: object) -> None:
    """Only the check matters."""


def take_over(places: Places, persistent: bool) -> dict[str, str]:
    """The settings in force: text by file name. `persistent` says whether what is kept now will be there next time."""
    in_force: dict[str, str] = {}
    seen = _read_seen(places)
    for file in FILES:
        kept = _kept(places, file.name)
        try:
            text = _take_over_one(places, file, kept, seen, persistent)
        except ValueError as error:
            still = "The box goes on with what it had before." if kept is not None else "The box goes on without it."
            add_problem(places, f"{file.name}: {error}. {still}")
            text = kept
        if text is not None:
            in_force[file.name] = text
    _look_for_misnamed(places)
    return in_force


def _take_over_one(places: Places, file: _File, kept: str | None, seen: dict[str, str], persistent: bool) -> str | None:
    on_card = places.firmware / file.name
    try:
        if not on_card.exists():
            return kept
        if on_card.stat().st_size > LARGEST_BYTES:
            raise ValueError("the file is far too large")
        raw = on_card.read_bytes()
    except OSError:
        raise ValueError("the file cannot be read; the card may be damaged") from None
    if seen.get(file.name) == _digest(raw) and (kept is not None or persistent):
        return kept
    text = fields.decode(raw)
    if fields.says_nothing(text):
        if persistent:
            _forget(places, file.name)
            _mark_seen(places, seen, file.name, raw)
        return None
    if secrets.MARK in text:
        text, missing = file.restore(text, kept)
        for place in missing:
            add_problem(places, f"{file.name}: the box no longer knows {place}; please write it into the file again.")
    file.check(places, text)
    if persistent:
        _keep(places, file, text, kept, raw, seen)
    return text


def _keep(places: Places, file: _File, text: str, kept: str | None, raw: bytes, seen: dict[str, str]) -> None:
    """Store first, then take the secrets off the card: a power cut between the two loses nothing."""
    try:
        if file.name == CONFIG and text != kept:
            write_atomically(places.accepted / (CONFIG + BEFORE), (kept or "").encode(), PRIVATE)
        if text != kept:
            write_atomically(places.accepted / file.name, text.encode(), PRIVATE)
    except OSError as error:
        add_problem(places, f"{file.name}: is used until the box is switched off, but could not be stored ({error}).")
        return
    redacted = file.redact(text)
    if redacted != text:
        newline = "\r\n" if b"\r\n" in raw else "\n"
        raw = redacted.replace("\n", newline).encode()
        try:
            # In place: writing over the secret, where another file would leave it on the card.
            with writable(places.firmware), (places.firmware / file.name).open("r+b") as on_card:
                length = on_card.seek(0, 2)
                on_card.seek(0)
                on_card.write(raw.ljust(length))
                on_card.flush()
                os.fsync(on_card.fileno())
                on_card.truncate(len(raw))
        except OSError as error:
            add_problem(places, f"{file.name}: the secrets in it could not be erased from the card: {error}.")
            return
    _mark_seen(places, seen, file.name, raw)


def _look_for_misnamed(places: Places) -> None:
    """Laptops hide the ends of names, and put some there of their own."""
    names = {file.name for file in FILES}
    wrong: dict[str, str] = {}
    for name in names:
        stem = name.rsplit(".", 1)[0]
        for variant in (stem, name + ".txt", stem + ".rtf", stem + ".doc", stem + ".txt"):
            if variant not in names:
                wrong[variant] = name
    try:
        present = sorted(entry.name for entry in places.firmware.iterdir())
    except OSError:
        return
    for entry in present:
        if entry.lower() in wrong:
            add_problem(places, f'The file "{entry}" is not read; please rename it to "{wrong[entry.lower()]}".')


def _kept(places: Places, name: str) -> str | None:
    try:
        return (places.accepted / name).read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _forget(places: Places, name: str) -> None:
    (places.accepted / name).unlink(missing_ok=True)
    (places.accepted / (name + BEFORE)).unlink(missing_ok=True)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _read_seen(places: Places) -> dict[str, str]:
    try:
        seen = json.loads((places.accepted / SEEN).read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in seen.items()} if isinstance(seen, dict) else {}


def _mark_seen(places: Places, seen: dict[str, str], name: str, raw: bytes) -> None:
    seen[name] = _digest(raw)
    try:
        write_atomically(places.accepted / SEEN, json.dumps(seen, sort_keys=True).encode())
    except OSError:
        return  # it is looked at again at the next start, which does no harm
