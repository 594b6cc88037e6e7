"""Secrets that stand in files of their own: `token_file` of tokens, uplinks and the pair, `password_file` of bridges.

A name without "/" is one of systemd's credentials for the service (`LoadCredential=`, systemd.exec(5)), which nobody
else on the machine can read. Read where the router starts, at every reload and by `check`;
other commands need no secrets.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clasp_edge.config.model import Config
from clasp_edge.text_file import without_mark

CREDENTIALS = "CREDENTIALS_DIRECTORY"

OF_THE_SERVICE = "/run/credentials/clasp-edge.service"
"""Where an administrator's `clasp-edge check` finds them while the service runs."""

MOST_BYTES = 4096


class Unreadable(ValueError):
    """The file has no secret; the text says why, without a word of it."""


def path_of(text: str) -> Path:
    """Where the file is. Raises Unreadable for a credential outside a service that has any."""
    if "/" in text:
        return Path(text)
    directory = Path(os.environ.get(CREDENTIALS) or OF_THE_SERVICE)
    if not directory.is_dir():
        raise Unreadable(
            f'"{text}" is a credential, and there are none (LoadCredential={text}:/a/file in the service); '
            "a file has a whole path"
        )
    return directory / text


def read_secret(text: str) -> str:
    """The first line. Raises Unreadable."""
    path = path_of(text)
    try:
        # Without waiting: a FIFO there would hold up the router until somebody writes to it.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(file, "rb") as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise Unreadable(f"{path} cannot be read: it is no regular file")
            found = opened.read(MOST_BYTES + 2)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"{str(path)!r} cannot be read: no file has such a name") from None
    line = without_mark(found).partition(b"\n")[0].strip()
    if not line or len(line) > MOST_BYTES:
        raise Unreadable(f"{path}: its first line has to be a secret of 1 to {MOST_BYTES} bytes")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Unreadable(f"{path} is not UTF-8 text") from None


def with_secrets(config: Config, problems: list[tuple[str, str]]) -> Config:
    """The configuration with the secrets of its files in place; `problems` gets (key, sentence) for each that cannot be
    had."""

    def read(key: str, text: str) -> str:
        try:
            return read_secret(text)
        except Unreadable as error:
            problems.append((key, str(error)))
            return ""

    tokens = list(config.security.token)
    first: dict[str, int] = {}
    for index, token in enumerate(config.security.token):
        secret = token.token
        if token.token_file:
            secret = read(f"security.token[{index}].token_file", token.token_file)
            tokens[index] = msgspec.structs.replace(token, token=secret)
        if secret and (earlier := first.setdefault(secret, index)) != index:
            problems.append((f"security.token[{index}]", f"the same token as security.token[{earlier}]"))
    uplinks = {
        name: msgspec.structs.replace(one, token=read(f"uplink.{name}.token_file", one.token_file))
        if one.token_file
        else one
        for name, one in config.uplink.items()
    }
    bridges = {
        name: msgspec.structs.replace(one, password=read(f"bridge.{name}.password_file", one.password_file))
        if one.password_file
        else one
        for name, one in config.bridge.items()
    }
    security = msgspec.structs.replace(config.security, token=tuple(tokens))
    federation = config.federation
    if federation.pair.token_file:
        shown = read("federation.pair.token_file", federation.pair.token_file)
        federation = msgspec.structs.replace(federation, pair=msgspec.structs.replace(federation.pair, token=shown))
    return msgspec.structs.replace(config, security=security, uplink=uplinks, bridge=bridges, federation=federation)


def files_of(config: Config) -> Iterator[Path]:
    """The files that hold secrets, as far as they can be named."""
    tokens = [token.token_file for token in config.security.token]
    shown = [uplink.token_file for uplink in config.uplink.values()]
    shown.append(config.federation.pair.token_file)
    for text in (*tokens, *shown, *(bridge.password_file for bridge in config.bridge.values())):
        if "/" in text:
            yield Path(text)
