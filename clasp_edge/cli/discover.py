"""`clasp-edge discover`: the routers that answer in the local network; and finding one of them by its name.

What they say of themselves is anybody's text. A token is sent to a router that was found by name only where its
certificate is pinned.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from clasp_edge.cli.remote import Unreachable
from clasp_edge.cli.status_text import printable
from clasp_edge.discovery.finder import find
from clasp_edge.discovery.router import FoundRouter
from clasp_edge.discovery.uplink import NotFound, find_hub

EXIT_OK = 0
EXIT_NOBODY = 1
EXIT_NO_NETWORK = 3


def run(arguments: argparse.Namespace) -> int:
    """Print those that answer. Exit status 1 where nobody does, 3 where there is no network."""
    try:
        found = asyncio.run(find(arguments.for_s))
    except OSError as error:
        print(f"clasp-edge: {error}", file=sys.stderr)
        return EXIT_NO_NETWORK
    routers = joined(found)
    for router in routers:
        if arguments.json:
            print(json.dumps(router._asdict() | {"url": router.url}))
        else:
            print(printable(f"{router.name}  {router.url}  {router.id or 'no id'}  {router.fingerprint}".rstrip()))
    if not routers:
        print("clasp-edge: no router answers in the local network", file=sys.stderr)
    return EXIT_OK if routers else EXIT_NOBODY


def joined(found: list[FoundRouter]) -> list[FoundRouter]:
    """One for each router: what it said most of itself in, and at an address that others can use, where it has both."""
    best: dict[tuple[str, int, int], FoundRouter] = {}
    # Later ones win: with an id, not of loopback, and not of one link.
    for router in sorted(
        found, key=lambda each: (bool(each.id), not each.host.startswith("127."), ":" not in each.host)
    ):
        key = router.id or router.name, router.ws_port, router.tls_port
        best[key] = router
    known = {router.host for router in best.values() if router.id}
    return sorted(
        (router for router in best.values() if router.id or router.host not in known),
        key=lambda each: (each.name.lower(), each.host),
    )


def find_router(name: str, arguments: argparse.Namespace) -> str:
    """The URL of the router of this name or id. Raises Unreachable."""
    if (arguments.token or arguments.token_file) and not arguments.tls_pin:
        raise Unreachable("with a token, finding a router by name needs --tls-pin: anybody could answer, and get it")
    try:
        return str(asyncio.run(find_hub(name, arguments.tls_pin, "")))
    except NotFound as error:
        raise Unreachable(str(error)) from None
