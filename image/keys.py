"""The key pair that updates are signed with. The public half is in every image, the secret half never is.

$IMAGE_KEY names the secret key (made by `minisign -G`, with its .pub beside it). Without it a key is made for this
checkout, so that images and updates that are built here fit each other.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from image.paths import WORK

SECRET_NAME = "update.key"


def secret_key() -> Path:
    """The secret key's file. Raises SystemExit."""
    given = os.environ.get("IMAGE_KEY")
    if given:
        if not Path(given).exists():
            raise SystemExit(f"IMAGE_KEY: there is no file {given}")
        return Path(given)
    key = WORK / "keys" / SECRET_NAME
    if not key.exists():
        key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_pair(key)
        print(f"(a signing key for updates was made: {key}; keep it, or name another in IMAGE_KEY)")
    return key


def public_key() -> Path:
    """The public key's file. Raises SystemExit."""
    public = secret_key().with_suffix(".pub")
    if not public.exists():
        raise SystemExit(f"beside {secret_key()} there must be the public key, {public.name}")
    return public


def make_pair(secret: Path) -> None:
    """A new pair without a password: SECRET and beside it the same with .pub."""
    command: list[str | Path] = ["minisign", "-G", "-f", "-W", "-s", secret, "-p", secret.with_suffix(".pub")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def sign(content: bytes, comment: str, secret: Path | None = None) -> bytes:
    """The signature of `content`. Raises SystemExit."""
    directory = WORK / "signing"
    directory.mkdir(parents=True, exist_ok=True)
    message, signature = directory / "message", directory / "message.minisig"
    message.write_bytes(content)
    command: list[str | Path] = [
        "minisign",
        "-S",
        "-q",
        "-s",
        secret or secret_key(),
        "-m",
        message,
        "-x",
        signature,
        "-t",
        comment,
    ]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"signing failed: {done.stderr.strip()}")
    return signature.read_bytes()
