"""`clasp-edge token cap`: makes, narrows, shows and checks capability tokens; needs no running router but for `revoke`.

Exit status 0 done, 1 refused.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from clasp_edge.config.model import Config
from clasp_edge.console.client import NoRouter, NotReached, Refused, ask
from clasp_edge.console.place import places
from clasp_edge.security import capability
from clasp_edge.security.capability import Capability, CapabilityError
from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.security.known_clock import KnownClock
from clasp_edge.security.revocations import Revocations
from clasp_edge.security.token_file import seconds_of

EXIT_OK = 0
EXIT_REFUSED = 1


def run(arguments: argparse.Namespace, config: Config, *, also_system: bool) -> int:
    """Carry out the command."""
    clock = KnownClock(config.data_dir)
    try:
        match arguments.cap_action:
            case "key":
                print(_key(arguments.file))
            case "create":
                made = capability.create(
                    _seed(arguments.key), _scopes(arguments), _expiry(arguments, clock), _audience(arguments)
                )
                print(capability.encode(made))
            case "delegate":
                parent = capability.decode(arguments.token)
                made = capability.delegate(
                    parent, _seed(arguments.key), _scopes(arguments), _expiry(arguments, clock), _audience(arguments)
                )
                print(capability.encode(made))
            case "inspect":
                _show(capability.decode(arguments.token))
            case "verify":
                return _verify(arguments, config, clock)
            case _:
                _revoke(arguments.id, config, also_system=also_system)
    except (CapabilityError, KeptFileError, NotReached, Refused) as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    return EXIT_OK


def _key(path: Path) -> str:
    """The public key of the private one in the file, which is made where there is none."""
    if not path.exists():
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with open(file, "w", encoding="ascii") as out:
                out.write(f"{_HEADING}\n{os.urandom(capability.KEY_BYTES).hex()}\n")
        except OSError as error:
            raise KeptFileError(f"{path}: {error.strerror}") from None
    return capability.key_text(capability.public_key(_seed(path)))


_HEADING = "# clasp-edge private key: whoever has it makes tokens. Keep it off the boxes."


def _seed(path: Path) -> bytes:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise KeptFileError(f"{path}: {getattr(error, 'strerror', None) or 'no private key'}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        [line] = lines
        seed = bytes.fromhex(line)
    except ValueError:
        seed = b""
    if len(seed) != capability.KEY_BYTES:
        raise KeptFileError(f"{path}: no private key; `clasp-edge token cap key {path}` makes one")
    return seed


def _scopes(arguments: argparse.Namespace) -> list[str]:
    return [part.strip() for scope in arguments.scope for part in scope.split(",")]


def _expiry(arguments: argparse.Namespace, clock: KnownClock) -> int:
    if clock.unknown:
        raise KeptFileError("the clock of this machine is not set, so an expiry cannot be counted: set it first")
    if fault := clock.fault():
        print(f"warning: {fault}", file=sys.stderr)
    return int(clock.believed_s()) + seconds_of(arguments.expires)


def _audience(arguments: argparse.Namespace) -> bytes | None:
    return capability.read_key(arguments.audience) if arguments.audience else None


def _show(found: Capability) -> None:
    for number, link in enumerate(found.links):
        print("token" if number == found.depth else "root" if not number else f"delegation {number}")
        print(f"  issuer    {capability.key_text(link.issuer)}")
        if link.audience is not None:
            print(f"  audience  {capability.key_text(link.audience)}")
        print(f"  scopes    {', '.join(link.scopes)}")
        if number == found.depth or found.verifiable:
            print(f"  expires   {_when(link.expires_at)}")
            print(f"  nonce     {link.nonce}")
    if not found.verifiable:
        print("It does not carry what its ancestors have signed: no box takes it.")


def _when(unix_s: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_s))
    except (OverflowError, ValueError, OSError):
        return "in the far future"


def _verify(arguments: argparse.Namespace, config: Config, clock: KnownClock) -> int:
    anchors = [capability.read_key(text) for text in arguments.anchor or config.security.trust_anchors]
    if not anchors:
        raise CapabilityError("there is nothing to check it with: security.trust_anchors is empty; --anchor KEY")
    found = capability.verify(arguments.token, anchors, clock.believed_s())
    revoked = Revocations(config.data_dir).read()
    if capability.names_of(found) & revoked:
        raise CapabilityError("has been revoked")
    print(f"valid until {_when(found.leaf.expires_at)}: {', '.join(found.leaf.scopes)}")
    return EXIT_OK


def _revoke(revoked: str, config: Config, *, also_system: bool) -> None:
    try:
        fresh = ask(places(config, also_system=also_system), {"request": "revoke", "id": revoked})["revoked"]
    except NoRouter:
        fresh = Revocations(config.data_dir).add(revoked)
    print(f"revoked: {revoked}" if fresh else f"{revoked} was revoked before")
