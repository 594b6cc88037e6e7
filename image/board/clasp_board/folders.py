"""The folders on the card: `tls/` for certificates and keys, `show/` for rules, scenes and devices.

Which files in them are read, and what each may contain; raises ValueError with a sentence for the person who holds the
card. A private key is taken off the card as passwords are.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from clasp_board import toml
from clasp_board.daemon_files import SHOW, TLS
from clasp_board.secrets import MARK

ENDS = {TLS: (".pem", ".crt", ".cer", ".key"), SHOW: (".toml", ".json")}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST = 32
"""Files in a folder."""

SHOW_TABLES = ("rule", "map", "scene", "rules", "osc", "mqtt", "bridge")
DOORS = ("listen", "tls_listen", "tcp_listen", "also_listen", "scopes")
"""Keys of tables that let somebody in."""

MOST_REMARKS = 8
_CERTIFICATE = "CERTIFICATE"


def files_in(folder: str, *places: Path) -> tuple[list[str], list[str]]:
    """The files to read of this folder below any of these places, and sentences about those that are not read."""
    found: dict[str, None] = {}
    unread: dict[str, None] = {}
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
                unread[name] = None
            else:
                found[folder + name] = None
    ends = " or ".join(ENDS[folder])
    remarks = [
        f'The file "{folder}{name}" is not read: names there are letters, digits, ".", "_" and "-", and end in {ends}.'
        for name in list(unread)[:MOST_REMARKS]
    ]
    if len(unread) > MOST_REMARKS:
        remarks.append(f"And {len(unread) - MOST_REMARKS} more files in {folder} are not read.")
    if len(found) > MOST:
        remarks.append(f'The folder "{folder}" has more than {MOST} files; those after the first {MOST} are not read.')
    return list(found)[:MOST], remarks


class _Block(NamedTuple):
    kind: str
    begin: int
    end: int
    """Behind the end of its last line."""


def _blocks(text: str) -> Iterator[_Block]:
    """What stands between BEGIN and END, each on a line of its own; blanks behind them do not count."""
    at, kind, begin = 0, "", 0
    for line in text.split("\n"):
        said = line.rstrip()
        after = min(at + len(line) + 1, len(text))
        if said.endswith("-----"):
            if said.startswith("-----BEGIN "):
                kind, begin = said[11:-5], at
            elif kind and said == f"-----END {kind}-----":
                yield _Block(kind, begin, after)
                kind = ""
        at = after


def read_pem(text: str) -> None:
    """Certificates, a private key, or both."""
    blocks = list(_blocks(text))
    kinds = [block.kind for block in blocks]
    if MARK in text:
        raise ValueError("the box does not know the private key that was in this file; please put the file here again")
    if not kinds:
        raise ValueError("there is no certificate and no key in it; it begins with -----BEGIN when it is saved as PEM")
    keys = [kind for kind in kinds if kind.endswith("PRIVATE KEY")]
    if any("ENCRYPTED" in kind for kind in keys) or "Proc-Type: 4,ENCRYPTED" in text:
        raise ValueError("its private key has a password, which nobody can type at a box; please save it without one")
    if len(keys) > 1:
        raise ValueError("there is more than one private key in it")
    if "PRIVATE KEY-----" in redact_pem(text):
        raise ValueError("a private key in it does not begin and end on lines of its own; please copy it again")
    others = [kind for kind in kinds if kind not in (_CERTIFICATE, *keys) and not kind.endswith("PARAMETERS")]
    if others:
        raise ValueError(f'"{others[0]}" is neither a certificate nor a private key')
    certificates = "".join(f"{text[b.begin : b.end]}\n" for b in blocks if b.kind == _CERTIFICATE)
    if certificates:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
        except (ssl.SSLError, ValueError):
            raise ValueError("a certificate in it is damaged; please copy it again") from None


def redact_pem(text: str) -> str:
    """The text with the mark in place of the private key."""
    parts, at = [], 0
    for block in _blocks(text):
        if block.kind.endswith("PRIVATE KEY"):
            parts += [text[at : block.begin], f"{MARK}\n"]
            at = block.end
    return "".join([*parts, text[at:]])


def restore_pem(text: str, kept: str | None) -> str:
    """The text with the private key that `kept` has in place of the mark."""
    kept = kept or ""
    keys = [kept[block.begin : block.end] for block in _blocks(kept) if block.kind.endswith("PRIVATE KEY")]
    return re.sub(rf"^{re.escape(MARK)}\n?", lambda _mark: keys[0], text, flags=re.MULTILINE) if keys else text


def read_show(text: str) -> None:
    """A part of the router's configuration that holds rules, scenes and devices, and opens no door."""
    for table, content in toml.load(text).items():
        if table not in SHOW_TABLES:
            raise ValueError(f'"{table}" belongs into clasp-edge.toml; here there may be {", ".join(SHOW_TABLES)}')
        for door in _doors(table, content):
            raise ValueError(f'"{door}" belongs into clasp-edge.toml')
        if table == "rules" and isinstance(content, dict) and "files" in content:
            raise ValueError('"rules.files" belongs into clasp-edge.toml; every .json file in show/ is read without it')


def _doors(name: str, content: Any) -> Iterator[str]:
    for key, inner in content.items() if isinstance(content, dict) else ():
        if key in DOORS:
            yield f"{name}.{key}"
        for one in inner if isinstance(inner, list) else [inner]:
            yield from _doors(f"{name}.{key}", one)


def read_rules(text: str) -> None:
    """A file of rules in JSON; whether they are right the router says."""
    try:
        json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{where}is not JSON") from None
