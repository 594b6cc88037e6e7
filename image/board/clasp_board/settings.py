"""Takes settings over from the files on the card: each is checked, kept if it is right, and named if it is wrong.

A file with a mistake is not used at all; what was right before stays in force. Knows the files and how to check them,
not what is then done with them (apply.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from clasp_board import fields, folders, secrets, toml, wired, wireless
from clasp_board.daemon_files import CONFIG, OWN, SHOW, TLS, daemon_files, daemon_name
from clasp_board.lines import decode, says_nothing
from clasp_board.pair import pair_fault
from clasp_board.places import Places
from clasp_board.problems import add_problem
from clasp_board.system import run, writable, write_atomically

HOST_NAME = "hostname.txt"
WIFI = "wifi.txt"
NETWORK = "network.txt"
KEYS = "ssh-keys.txt"
ERASE_REQUEST = "erase-data.txt"

HABITS = {
    **dict.fromkeys(("wpa_supplicant.conf", "network-config"), WIFI),
    **dict.fromkeys(("ssh", "ssh.txt", "authorized_keys", "id_ed25519.pub", "id_rsa.pub"), KEYS),
    **dict.fromkeys(("userconf", "userconf.txt"), KEYS),
}
"""What people put on the cards of other Raspberry Pis, and where it belongs on ours."""

BEFORE = ".before"
"""Added to the name of the configuration that was in force before the one that is on probation."""

REFUSED = ".refused"
"""Added to the name of the configuration with which the router did not start."""

SEEN = "seen.json"
LARGEST_BYTES = 256 * 1024

PRIVATE = 0o600


@dataclass(frozen=True)
class _File:
    name: str
    check: Callable[[Places, str, dict[str, str]], None]
    """Given the settings in force so far. Raises ValueError."""
    read: Callable[[str], object]
    """The part of `check` that asks nobody and takes no time. Raises ValueError."""

    redact: Callable[[str], str] = lambda text: text
    restore: Callable[[str, str | None], str] = lambda text, kept: text
    fill: Callable[[str], tuple[str, list[str]]] = lambda text: (text, [])
    vet: Callable[[str], None] = lambda text: None
    """What only somebody who writes it today is asked for: it sees marks in place of secrets that are kept. Raises
    ValueError."""


def read_config(text: str) -> None:
    """Whether it is TOML. Raises ValueError."""
    try:
        toml.load(text)
    except ValueError as error:
        said = str(error)
        where = re.search(r"line (\d+)", said)
        if where and re.search("[“”„‘’«»]", text.split("\n")[int(where[1]) - 1]):  # noqa: RUF001
            said += '; the quotation marks there must be straight ones: "'
        raise ValueError(said) from None


def vet_config(text: str) -> None:
    """Refuse the secrets of the examples, and tokens that can be guessed. Raises ValueError."""
    read_config(text)
    secrets.check_strength(text)


def check_config(places: Places, name: str, text: str, in_force: dict[str, str]) -> None:
    """Let the daemon itself judge its configuration with this file in it. Raises ValueError with its words."""
    trial = places.run / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    try:
        for path, content in daemon_files({**in_force, name: text}, trial).items():
            write_atomically(trial / path, content.encode(), PRIVATE)
        main = trial / "clasp-edge.toml"
        write_atomically(main, b"", PRIVATE)
        done = run(places.root / "usr/bin/clasp-edge", "check", "--config", main, cwd=trial)
        if done.returncode:
            raise ValueError(_in_words_of_the_card(done.stdout, trial, name) or "the daemon refuses it")
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _in_words_of_the_card(said: str, trial: Path, name: str) -> str:
    """Where it stands, without a name that nobody has given."""
    said = re.sub(rf"{re.escape(str(trial / daemon_name(name)))}:(\d+): ", r"line \1: ", said)
    said = said.replace(f"{trial / daemon_name(name)}: ", "")
    said = said.replace(str(trial / OWN), CONFIG).replace(f"{trial}/conf.d/60-show-", SHOW).replace(f"{trial}/", "")
    return "; ".join(said.strip().splitlines())


def _small_file(name: str, read: Callable[[str], object], check: Callable[[Any], None], *secret: Any) -> _File:
    return _File(name, lambda _places, text, _in_force: check(read(text)), read, *secret)


def void(_result: object) -> None:
    """Only the check matters."""


def check_network(places: Places, text: str, _in_force: dict[str, str]) -> None:
    """Raises ValueError. What was accepted before these checks were made goes on: no box loses its address by an
    update."""
    found = wired.read_wired(text)
    wired.check_wired(found)
    zones = places.root / "usr/share/zoneinfo"
    if found.timezone and zones.is_dir() and not (zones / found.timezone).is_file():
        raise ValueError(f'there is no time zone "{found.timezone}"; one is Europe/Berlin')


WIRELESS_SECRETS = (secrets.redact_wireless, secrets.restore_wireless, secrets.fill_wireless)
CONFIG_SECRETS = (secrets.redact_toml, secrets.restore_toml, secrets.fill_toml, vet_config)

FILES = (
    _small_file(HOST_NAME, fields.read_host_name, void),
    _small_file(WIFI, wireless.read_wireless, wireless.check_wireless, *WIRELESS_SECRETS),
    _File(NETWORK, check_network, wired.read_wired),
    _small_file(KEYS, fields.read_keys, void),
)


def all_files(places: Places) -> list[_File]:
    """The files that there are or may be, each after those that it needs; and a word on those that are not read."""
    files = list[_File]()
    names: dict[str, list[str]] = {}
    for folder in (TLS, SHOW):
        names[folder], remarks = folders.files_in(folder, places.firmware, places.accepted)
        for remark in remarks:
            add_problem(places, remark)
    files += [_File(name, _check_pem, folders.read_pem, folders.redact_pem, folders.restore_pem) for name in names[TLS]]
    files.append(_File(CONFIG, partial(_check_part, CONFIG, read_config), read_config, *CONFIG_SECRETS))
    for name in names[SHOW]:
        if name.endswith(".toml"):
            files.append(_File(name, partial(_check_part, name, folders.read_show), folders.read_show, *CONFIG_SECRETS))
        else:
            files.append(_File(name, partial(_check_part, name, folders.read_rules), folders.read_rules))
    return [*FILES, *files]


def _check_pem(_places: Places, text: str, _in_force: dict[str, str]) -> None:
    folders.read_pem(text)


def _check_part(name: str, read: Callable[[str], None], places: Places, text: str, in_force: dict[str, str]) -> None:
    read(text)
    check_config(places, name, text, in_force)


def take_over(places: Places, persistent: bool) -> dict[str, str]:
    """The settings in force: text by file name. `persistent` says whether what is kept now will be there next time.

    A secret that the box has lost is a mark in what is kept as well, so that it is asked for until it comes.
    """
    in_force: dict[str, str] = {}
    seen = _read_seen(places)
    changed: dict[str, _Change] = {}
    """Of `tls/`: stored at the end, when it is known that the router starts with them."""
    for file in all_files(places):
        kept = _kept(places, file, seen)
        if file.name == CONFIG:
            _withdraw_what_does_not_fit(places, [kept, _new_on_card(places, file.name, seen)], in_force, changed)
        try:
            text, change = _take_over_one(places, file, kept, seen, persistent, in_force)
            if change and file.name.startswith(TLS):
                changed[file.name] = change
            elif change:
                change.store()
        except ValueError as error:
            still = "The box goes on with what it had before." if kept is not None else "The box goes on without it."
            add_problem(places, f"{file.name}: {error}. {still}")
            text = kept
        if text is not None:
            in_force[file.name], missing = file.fill(text)
            for place in missing:
                add_problem(places, f"{file.name}: the box does not know {place}; please write it into the file again.")
    _withdraw_what_does_not_fit(places, [in_force.get(CONFIG)], in_force, changed)
    for change in changed.values():
        change.store()
    _look_for_misnamed(places)
    return in_force


@dataclass(frozen=True)
class _Change:
    before: str | None
    store: Callable[[], None]


def _withdraw_what_does_not_fit(
    places: Places, configs: list[str | None], in_force: dict[str, str], changed: dict[str, _Change]
) -> None:
    """Put back what was in `tls/` if the router would start with what is new by none of these configurations."""
    faults = [pair_fault(config, in_force, places.run / "trial-tls") for config in configs] if changed else []
    if not faults or "" in faults:
        return
    still = "before" if any(change.before is not None for change in changed.values()) else "so far"
    add_problem(places, f"{', '.join(changed)}: {faults[0]}. The box goes on with what it had {still}.")
    for name, change in changed.items():
        in_force.pop(name, None)
        if change.before is not None:
            in_force[name] = change.before
    changed.clear()


def _new_on_card(places: Places, name: str, seen: dict[str, str]) -> str | None:
    """What somebody has written into a file since the last start; what is kept holds for one that cannot be read."""
    try:
        if (places.firmware / name).stat().st_size <= LARGEST_BYTES:
            raw = (places.firmware / name).read_bytes()
            if raw and seen.get(name) != _digest(raw):
                return decode(raw)
    except (OSError, ValueError):
        pass
    return _text_of(places.accepted / name)


def _take_over_one(
    places: Places,
    file: _File,
    kept: str | None,
    seen: dict[str, str],
    persistent: bool,
    in_force: dict[str, str],
) -> tuple[str | None, _Change | None]:
    """The text in force, and what is to be stored of it."""
    on_card = places.firmware / file.name
    try:
        if not on_card.exists():
            return kept, None
        if on_card.stat().st_size > LARGEST_BYTES:
            raise ValueError("the file is far too large")
        raw = on_card.read_bytes()
    except OSError:
        raise ValueError("the file cannot be read; the card may be damaged") from None
    refused = places.accepted / (file.name + REFUSED)
    if seen.get(file.name) == _digest(raw) and (kept is not None or persistent):
        if refused.exists():
            add_problem(
                places, f"{file.name}: the router does not start with it, so the configuration of before is in force."
            )
        return kept, None
    if not raw:  # the card was pulled while a laptop wrote, or nobody wanted anything
        if kept is not None:
            add_problem(
                places,
                f"{file.name}: is empty, as if the card had been pulled too early, so the setting stays. To withdraw "
                "it, write a line that begins with # and nothing else.",
            )
        return kept, None
    text = decode(raw)
    if secrets.WHOLE in text:
        if not says_nothing(text):
            raise ValueError(
                "what was in this file is kept in the box, and nothing can be added to it here; "
                "please write everything anew, and take the line that begins with # The box has read away"
            )
        if kept is None:
            raise ValueError("the box does not know what was in this file; please write everything anew")
        return kept, None
    if says_nothing(text):
        forget = partial(_forget, places, file.name, seen, raw) if persistent else _store_nothing
        return None, _Change(kept, forget)
    file.vet(text)
    if secrets.MARK in text:
        # What the router did not start with was newer than what is kept.
        text = file.restore(text, _text_of(refused))
        text = file.restore(text, kept)
    file.check(places, file.fill(text)[0], in_force)
    return text, _Change(kept, partial(_keep, places, file, text, kept, raw, seen) if persistent else _store_nothing)


def _store_nothing() -> None:
    """Where nothing can be stored."""


def _keep(places: Places, file: _File, text: str, kept: str | None, raw: bytes, seen: dict[str, str]) -> None:
    """Store first, then take the secrets off the card: a power cut between the two loses nothing."""
    try:
        before = places.accepted / (CONFIG + BEFORE)
        if file.name == CONFIG and text != kept and not before.exists():
            # Else what is kept is on probation itself, and the one before it is the last that is known to work.
            write_atomically(before, (kept or "").encode(), PRIVATE)
        if text != kept:
            write_atomically(places.accepted / file.name, text.encode(), PRIVATE)
        (places.accepted / (file.name + REFUSED)).unlink(missing_ok=True)
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
                _write_over(on_card, raw)
        except OSError as error:
            add_problem(places, f"{file.name}: the secrets in it could not be erased from the card: {error}.")
            return
    _mark_seen(places, seen, file.name, raw)


def _write_over(file: IO[bytes], content: bytes) -> None:
    """Put `content` in place of what the file has. Raises OSError, on a full card before anything is changed."""
    length = file.seek(0, 2)
    try:
        file.write(b" " * (len(content) - length))
        file.flush()
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), length)
        raise
    file.seek(0)
    file.write(content.ljust(length))
    file.flush()
    os.fsync(file.fileno())
    file.truncate(len(content))


def _look_for_misnamed(places: Places) -> None:
    """Laptops hide the ends of names, and put some there of their own."""
    names = {*(file.name for file in FILES), CONFIG, ERASE_REQUEST}
    wrong: dict[str, str] = {}
    for name in names:
        stem = name.rsplit(".", 1)[0]
        ends = (".txt", ".rtf", ".doc", ".docx", ".odt", ".text", ".pub")
        for variant in (stem, *(name + end for end in ends), *(stem + end for end in ends)):
            if variant not in names:
                wrong[variant] = name
    try:
        present = sorted(entry.name for entry in places.firmware.iterdir())
    except OSError:
        return
    for entry in present:
        if entry.lower() in HABITS:
            instead = HABITS[entry.lower()]
            add_problem(
                places, f'The file "{entry}" is for other systems; here "{instead}" does that, and explains itself.'
            )
        elif entry.lower() in wrong:
            add_problem(places, f'The file "{entry}" is not read; please rename it to "{wrong[entry.lower()]}".')


def _kept(places: Places, file: _File, seen: dict[str, str]) -> str | None:
    """The setting of before. Where the data partition has lost it, the one on the card counts as new."""
    try:
        text = (places.accepted / file.name).read_text()
        file.read(file.fill(text)[0])
        return text
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        seen.pop(file.name, None)
        add_problem(places, f"{file.name}: what the box had kept of it is damaged, and is not used any more.")
        return None


def kept_settings(places: Places) -> dict[str, str]:
    """What the box has kept, whatever is on the card: for the start that cannot read the card's files."""
    found: dict[str, str] = {}
    names = [file.name for file in FILES] + [CONFIG]
    for folder in (TLS, SHOW):
        names += folders.files_in(folder, places.accepted)[0]
    for name in names:
        if (text := _text_of(places.accepted / name)) is not None:
            found[name] = text
            # A mark is no secret: everybody could connect with it.
            if name == WIFI:
                found[name], _ = secrets.fill_wireless(text)
            elif name.endswith(".toml"):
                found[name], _ = secrets.fill_toml(text)
    return found


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


def _forget(places: Places, name: str, seen: dict[str, str], raw: bytes) -> None:
    try:
        for end in ("", BEFORE, REFUSED):
            (places.accepted / (name + end)).unlink(missing_ok=True)
    except OSError as error:
        add_problem(places, f"{name}: is empty, but that could not be stored ({error}).")
        return
    _mark_seen(places, seen, name, raw)


def was_read(places: Places, name: str, raw: bytes) -> bool:
    """Whether the file of the card had this content when it was last taken over."""
    return _read_seen(places).get(name) == _digest(raw)


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
