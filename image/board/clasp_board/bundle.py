"""An update in one file: a tar archive of a manifest, its signature and the root file system that it names.

The manifest is signed (minisign), and holds the checksum of the root, so nothing of an update is believed that was not
signed. Knows the form and what is wrong with a file; not where it is written to.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"
ROOT = "root.squashfs"
FORM = 1

LARGEST_MANIFEST_BYTES = 64 * 1024
CHUNK_BYTES = 1 << 20

NOT_A_BUNDLE = "this is not an update for clasp-edge, or the file is damaged. Please copy it again"
CUT_SHORT = "the file is not whole: its copy was cut short. Please copy it again"


class BundleError(Exception):
    """What is wrong with an update, in a sentence for the person who holds it."""


@dataclass(frozen=True)
class Manifest:
    """What an update is."""

    board: str
    version: str
    built: int
    """Seconds since 1970; of two builds of one version the later is newer."""
    kernels: str
    """The releases that it has modules for, with spaces in between."""
    root_bytes: int
    root_sha256: str

    def as_json(self) -> bytes:
        """The form that is signed."""
        return (json.dumps({"form": FORM, **self.__dict__}, indent=2, sort_keys=True) + "\n").encode()


def read_manifest(raw: bytes) -> Manifest:
    """Raises BundleError."""
    try:
        fields: dict[str, Any] = json.loads(raw)
        if fields.pop("form") != FORM:
            raise BundleError("this update is of a kind that came after this system. Please install one in between")
        manifest = Manifest(**fields)
        if not all(isinstance(getattr(manifest, name), kind) for name, kind in _KINDS.items()):
            raise TypeError
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(NOT_A_BUNDLE) from None


_KINDS = {"board": str, "version": str, "built": int, "kernels": str, "root_bytes": int, "root_sha256": str}


def version_key(version: str) -> tuple[int, ...]:
    """Versions in their order: 0.10.0 is after 0.9.1."""
    numbers = []
    for part in version.split("."):
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def verify_signature(manifest: bytes, signature: bytes, keys: Sequence[Path], work: Path) -> None:
    """Raises BundleError unless the owner of one of `keys` signed the manifest."""
    refused: BundleError | None = None
    for key in keys:
        try:
            _verify(manifest, signature, key, work)
            return
        except BundleError as error:
            refused = refused or error
    raise refused or BundleError("the signature cannot be checked: this system has no key")


def _verify(manifest: bytes, signature: bytes, key: Path, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    (work / MANIFEST).write_bytes(manifest)
    (work / SIGNATURE).write_bytes(signature)
    try:
        done = subprocess.run(
            ["minisign", "-V", "-q", "-p", key, "-m", work / MANIFEST, "-x", work / SIGNATURE],
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BundleError(f"the signature cannot be checked: {error}") from None
    finally:
        (work / MANIFEST).unlink()
        (work / SIGNATURE).unlink()
    if done.returncode:
        raise BundleError(
            "its signature is not from the maker of this box's system, so it is not installed. "
            "Either somebody has changed the file, or it was made for other boxes"
        )


class Bundle:
    """An open update whose manifest can be trusted."""

    def __init__(self, archive: tarfile.TarFile, manifest: Manifest) -> None:
        self.manifest = manifest
        self._archive = archive

    def root(self) -> Iterator[bytes]:
        """The root file system, piece by piece. Raises BundleError at the end if it was not the one that was signed."""
        try:
            member = self._archive.next()
            if member is None or member.name != ROOT:
                raise BundleError(CUT_SHORT)
            content = self._archive.extractfile(member)
            if content is None or member.size != self.manifest.root_bytes:
                raise BundleError(NOT_A_BUNDLE)
            digest = hashlib.sha256()
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
        except (tarfile.TarError, EOFError):
            raise BundleError(CUT_SHORT) from None
        if digest.hexdigest() != self.manifest.root_sha256:
            raise BundleError("its content is not what was signed: the file is damaged. Please copy it again")


def open_bundle(file: IO[bytes], keys: Sequence[Path], work: Path) -> Bundle:
    """Check the signature. Raises BundleError."""
    try:
        archive = tarfile.open(fileobj=file, mode="r|")  # noqa: SIM115  (its file is closed by whoever opened it)
        manifest = _read_member(archive, MANIFEST)
        signature = _read_member(archive, SIGNATURE)
    except (tarfile.TarError, EOFError, ValueError):
        raise BundleError(NOT_A_BUNDLE) from None
    verify_signature(manifest, signature, keys, work)
    return Bundle(archive, read_manifest(manifest))


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.next()
    if member is None or member.name != name or not member.isreg() or member.size > LARGEST_MANIFEST_BYTES:
        if name == SIGNATURE:
            raise BundleError("it is not signed, so it is not installed")
        raise BundleError(NOT_A_BUNDLE)
    content = archive.extractfile(member)
    return content.read() if content else b""


def write_bundle(target: Path, manifest: bytes, signature: bytes, root: Path, epoch: int) -> None:
    """Put an update together; the same parts give the same bytes."""
    with target.open("wb") as file, tarfile.open(fileobj=file, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name, size in ((MANIFEST, len(manifest)), (SIGNATURE, len(signature)), (ROOT, root.stat().st_size)):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = size, epoch, 0o644
            content = root.open("rb") if name == ROOT else io.BytesIO(manifest if name == MANIFEST else signature)
            with content:
                archive.addfile(member, content)
