"""The folders on the card: `tls/` for certificates and keys, `show/` for rules, scenes and devices.

Which files in them are read, and what each may contain; raises ValueError with a sentence for the person who holds the
card. A private key is taken off the card as passwords are.
"""

from __future__ import annotations

import json
import re
import ssl
import tomllib
from pathlib import Path
from typing import Any

from clasp_board.daemon_files import SHOW, TLS
from clasp_board.secrets import MARK

ENDS = {TLS: (".pem", ".crt", ".cer", ".key"), SHOW: (".toml", ".json")}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST = 32
"""Files in a folder."""

SHOW_TABLES = ("rule", "map", "scene", "rules", "osc", "mqtt", "bridge")
LISTENERS = ("listen", "tls_listen")

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n.*?-----END \1-----\n?", re.DOTALL)
_CERTIFICATE = "CERTIFICATE"


def files_in(folder: str, *places: Path) -> tuple[list[str], list[str]]:
    """The files to read of this folder below any of these places, and sentences about those that are not read."""
    found: dict[str, None] = {}
    remarks = []
    for place in places:
        try:
            names = sorted(path.name for path in (place / folder).iterdir())
        except OSError:
            continue
        for name in names:
            if name.startswith((".", "_")) or name.upper().startswith(("README", "DESKTOP.INI", "THUMBS.DB")):
                continue
            if name.endswith((".new", ".before", ".refused")) and place == places[-1]:
                continue
            if not NAME.fullmatch(name) or not name.endswith(ENDS[folder]):
                ends = " or ".join(ENDS[folder])
                remarks.append(
                    f'The file "{folder}{name}" is not read: names there are letters, digits, ".", "_" and "-", and '
                    f"end in {ends}."
                )
            else:
                found[folder + name] = None
    if len(found) > MOST:
        remarks.append(f'The folder "{folder}" has more than {MOST} files; those after the first {MOST} are not read.')
    return list(found)[:MOST], remarks


def read_pem(text: str) -> None:
    """Certificates, a private key, or both."""
    kinds = [found[1] for found in _BLOCK.finditer(text)]
    if MARK in text:
        raise ValueError("the box does not know the private key that was in this file; please put the file here again")
    if not kinds:
        raise ValueError("there is no certificate and no key in it; it begins with -----BEGIN when it is saved as PEM")
    keys = [kind for kind in kinds if kind.endswith("PRIVATE KEY")]
    if any("ENCRYPTED" in kind for kind in keys) or "Proc-Type: 4,ENCRYPTED" in text:
        raise ValueError("its private key has a password, which nobody can type at a box; please save it without one")
    if len(keys) > 1:
        raise ValueError("there is more than one private key in it")
    others = [kind for kind in kinds if kind not in (_CERTIFICATE, *keys) and not kind.endswith("PARAMETERS")]
    if others:
        raise ValueError(f'"{others[0]}" is neither a certificate nor a private key')
    certificates = "".join(found[0] for found in _BLOCK.finditer(text) if found[1] == _CERTIFICATE)
    if certificates:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
        except (ssl.SSLError, ValueError):
            raise ValueError("a certificate in it is damaged; please copy it again") from None


def redact_pem(text: str) -> str:
    """The text with the mark in place of the private key."""
    return _BLOCK.sub(lambda found: f"{MARK}\n" if found[1].endswith("PRIVATE KEY") else found[0], text)


def restore_pem(text: str, kept: str | None) -> str:
    """The text with the private key that `kept` has in place of the mark."""
    keys = [found[0] for found in _BLOCK.finditer(kept or "") if found[1].endswith("PRIVATE KEY")]
    return re.sub(rf"^{re.escape(MARK)}\n?", lambda _mark: keys[0], text, flags=re.MULTILINE) if keys else text


def read_show(text: str) -> None:
    """A part of the router's configuration that holds rules, scenes and devices, and opens no door."""
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(str(error)) from None
    for table, content in found.items():
        if table not in SHOW_TABLES:
            raise ValueError(f'"{table}" belongs into clasp-edge.toml; here there may be {", ".join(SHOW_TABLES)}')
        inner = [key for key in LISTENERS if isinstance(content, dict) and key in content]
        if inner:
            raise ValueError(f'"{table}.{inner[0]}" belongs into clasp-edge.toml')


def read_rules(text: str) -> None:
    """A file of rules in JSON; whether they are right the router says."""
    try:
        json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{where}is not JSON") from None
