"""The addresses that a shell offers while one is typed: those one level below what stands there, of the router that the
line names. What goes wrong is nothing to offer: a person who types is told nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from clasp_edge.cli.remote import RefusedByRouter, Remote, Unreachable, tls_context
from clasp_edge.cli.remote_arguments import DEFAULT_URL
from clasp_edge.text_file import read_text

TIMEOUT_S = 2.0
MOST = 200
"""Offered; nobody reads more."""

PAGES = 25
"""Of a level, of 200 branches each: what is offered may be on a later one."""

PORTS = {"ws": 7330, "wss": 7443}


def run(words: Sequence[str], parser: Callable[[], argparse.ArgumentParser]) -> int:
    """Print them, those with something below with a slash at the end; `words` are what is typed, without the program's
    name."""
    typed = words[-1] if words else ""
    if not typed.startswith("/") and typed:
        return 0
    try:
        # What is typed is no address yet.
        with contextlib.redirect_stderr(io.StringIO()):
            arguments = parser().parse_args([*words[:-1], "/x"])
    except SystemExit:
        arguments = argparse.Namespace()
    url = getattr(arguments, "url", os.environ.get("CLASP_EDGE_URL", DEFAULT_URL))
    if url.startswith("discover:") or getattr(arguments, "name", ""):
        return 0
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException, Unreachable, RefusedByRouter):
        found = {each for each in _below(url, arguments, typed) if each.isprintable() and each.startswith(typed)}
        for offered in sorted(found)[:MOST]:
            print(offered)
    sys.stdout.flush()
    return 0


def _below(url: str, arguments: argparse.Namespace, typed: str) -> Iterator[str]:
    parent = typed.rpartition("/")[0]
    token = getattr(arguments, "token", "")
    if file := getattr(arguments, "token_file", None):
        token = read_text(Path(file)).strip()
    pin, ca = getattr(arguments, "tls_pin", ""), getattr(arguments, "tls_ca", "")
    # A pin is checked by who speaks CLASP: no token goes to somebody else.
    if not pin:
        listed = _by_http(url, parent, token, ca)
        if listed is not None:
            yield from listed
            return
    with Remote(url, token, pin=pin, ca=ca) as remote:
        for number, param in enumerate(remote.state(f"{parent}/**")):
            name, more, _ = param.address[len(parent) + 1 :].partition("/")
            yield f"{parent}/{name}{more}"
            if number > 20 * MOST:
                return


def _by_http(url: str, parent: str, token: str, ca: str) -> list[str] | None:
    """What clasp-edge lists, one level at a time; None from another router."""
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme, 0)
    connection: http.client.HTTPConnection
    if parts.scheme == "wss":
        context = tls_context(url, "", ca)
        connection = http.client.HTTPSConnection(parts.hostname or "", port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        found: list[str] = []
        after = ""
        ends_s = time.monotonic() + TIMEOUT_S
        for _ in range(PAGES):
            try:
                fields = {"Authorization": f"Bearer {token}"} if token else {}
                connection.request("GET", f"/tree.json?at={quote(parent)}&after={quote(after)}", headers=fields)
                answer = connection.getresponse()
                if answer.status != http.client.OK:
                    return None
                page = json.loads(answer.read())
                for name, param, below in page["branches"]:
                    found += [f"{parent}/{name}"] if param else []
                    found += [f"{parent}/{name}/"] if below else []
                after = str(page["next"])
            except (http.client.HTTPException, ConnectionError, ValueError, KeyError, TypeError):
                return None
            if not after or time.monotonic() > ends_s:
                break
    return found
