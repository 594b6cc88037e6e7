"""`clasp-edge claim`: makes an open box one that asks for tokens; tells first who will have to log in.

Exit status 0 done, 1 refused or not wanted.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from clasp_edge.cli.status_text import printable
from clasp_edge.config.model import Config
from clasp_edge.console.client import NoRouter, NotReached, Refused, ask
from clasp_edge.console.place import places
from clasp_edge.security.claim_file import device_scopes, make_claim, read_claim
from clasp_edge.security.kept_file import KeptFileError

EXIT_OK = 0
EXIT_REFUSED = 1


def run(arguments: argparse.Namespace, config: Config, *, also_system: bool) -> int:
    """Carry out the command."""
    sockets = places(config, also_system=also_system)
    request = {"request": "claim", "networks": arguments.devices, "who": f"user {getpass.getuser()}"}
    try:
        try:
            found = ask(sockets, request | {"action": "report"})
        except NoRouter:
            return _without_router(arguments, config)
        if found["claimed"]:
            raise Refused(f"the box is claimed already, by {found['by'] or 'somebody'}")
        _tell(found, arguments.devices)
        if arguments.report:
            return EXIT_OK
        if not arguments.yes and not _confirmed():
            print("nothing was changed", file=sys.stderr)
            return EXIT_REFUSED
        done = ask(sockets, request | {"action": "claim"})
    except (Refused, NotReached, KeptFileError) as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    _tokens(done["admin"], done["devices"], done["scopes"])
    return EXIT_OK


def _without_router(arguments: argparse.Namespace, config: Config) -> int:
    if arguments.report:
        print("claimed" if read_claim(config.data_dir) is not None else "not claimed; no router is running")
        return EXIT_OK
    scopes = device_scopes(config.mqtt.namespace, config.osc.namespace)
    _, admin, devices = make_claim(config.data_dir, f"user {getpass.getuser()}", arguments.devices, scopes)
    _tokens(admin, devices, scopes)
    return EXIT_OK


def _tell(found: dict[str, Any], networks: list[str]) -> None:
    guests = found["locked_out"]
    if not guests:
        print("Nobody who is connected now will be locked out.")
        return
    print("These will be locked out until they log in with a token:")
    for guest in guests:
        print(f"  {guest['protocol']:6} {printable(guest['name'] or '?'):32} {guest['address'] or 'away'}")
    if found["count"] > len(guests):
        print(f"  ... and {found['count'] - len(guests)} more")
    if not networks and any(guest["protocol"] in ("mqtt", "osc") for guest in guests):
        print("With --devices 192.168.1.0/24 the MQTT and OSC devices of that network go on without a token.")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        print("clasp-edge: say --yes to claim the box without being asked", file=sys.stderr)
        return False
    return input('Claim the box? Type "yes": ').strip() == "yes"


def _tokens(admin: str, devices: str, scopes: list[str]) -> None:
    print(f"admin    {admin}")
    print(f"devices  {devices}")
    print(
        "These are shown once. The first may do everything; the second is for devices "
        f"({', '.join(scopes)}), of MQTT as the password.",
        file=sys.stderr,
    )
