"""The key pair that updates are signed with. The public half is in every image, the secret half never is.

$IMAGE_KEY names the secret key (made by `minisign -G`, with its .pub beside it), $IMAGE_RECOVERY_KEY the public half of
a second one, which boxes believe as well: it is for the day on which the first is lost. Without $IMAGE_KEY a key is
made for this user, so that images and updates that are built here fit each other; it marks both as a test.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from image.paths import WORK

SECRET_NAME = "update.key"
TEST_MARK = "-test"
"""In the names of images and updates that are signed with a key that was made by itself."""


def test_keys() -> Path:
    """Where a key that was made by itself lies: outside the checkout, so that no `make clean` and no fresh clone ends
    the updates of a card that is in use."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(base) / "clasp-edge" / "image-keys"


def is_test() -> bool:
    """Whether nobody has named a key."""
    return not os.environ.get("IMAGE_KEY")


def recovery_key() -> Path | None:
    """The second public key, if there is one. Raises SystemExit."""
    given = os.environ.get("IMAGE_RECOVERY_KEY")
    if not given:
        return None
    if not Path(given).exists():
        raise SystemExit(f"IMAGE_RECOVERY_KEY: there is no file {given}")
    if "secret key" in Path(given).read_text(errors="replace").lower():
        raise SystemExit("IMAGE_RECOVERY_KEY: this is the secret half; the image gets the public one")
    return Path(given)


def secret_key() -> Path:
    """The secret key's file. Raises SystemExit."""
    given = os.environ.get("IMAGE_KEY")
    if given:
        if not Path(given).exists():
            raise SystemExit(f"IMAGE_KEY: there is no file {given}")
        return Path(given)
    key = test_keys() / SECRET_NAME
    if not key.exists():
        key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = WORK / "keys" / SECRET_NAME
        if before.exists():  # where earlier versions made it
            for end in ("", ".pub"):
                source = before.with_suffix(end) if end else before
                target = key.with_suffix(end) if end else key
                target.write_bytes(source.read_bytes())
                target.chmod(0o600)
        else:
            make_pair(key)
            print(f"(a signing key for updates was made: {key})")
    print("TEST BUILD: signed with a key that was made by itself. For boxes of others name one in IMAGE_KEY.")
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
