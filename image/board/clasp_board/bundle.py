"""An update in one file: a tar archive of a manifest, its signature, the root file system that it names, and then the
same for the kernels: a list, its signature, the files.

Both are signed (minisign) and hold checksums, so nothing of an update is believed that was not signed. What comes after
the root is not read by the first boxes, whose one kernel cannot be changed; for them the manifest is as it was. Knows
the form and what is wrong with a file; not where it is written to.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clasp_board.kernels import NAME

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"
ROOT = "root.squashfs"
KERNELS = "kernels.json"
KERNELS_SIGNATURE = "kernels.json.minisig"
KERNEL_FILES = "boot/"
FORM = 1
PACKED = ".xz"
"""At the end of their names: the kernels take a quarter so."""

PACKING = 4
"""Of xz: what it takes to unpack is 4 MiB and a little."""

UNPACK_MEMORY_BYTES = 32 << 20
MOST_KERNEL_FILES = 256

LARGEST_MANIFEST_BYTES = 64 * 1024
CHUNK_BYTES = 1 << 20

NOT_A_BUNDLE = "this is not an update for clasp-edge, or the file is damaged. Please copy it again"
NOT_WHAT_WAS_SIGNED = "its content is not what was signed: the file is damaged. Please copy it again"
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


@dataclass(frozen=True)
class KernelFile:
    """One file of a system on the boot partition."""

    name: str
    """Below a/ or b/."""
    bytes: int
    sha256: str


def kernel_list(root_sha256: str, files: Sequence[KernelFile]) -> bytes:
    """The list of a root's kernels in the form that is signed."""
    rows = [file.__dict__ for file in files]
    return (
        json.dumps({"form": FORM, "root_sha256": root_sha256, "files": rows}, indent=2, sort_keys=True) + "\n"
    ).encode()


def read_kernel_list(raw: bytes, root_sha256: str) -> list[KernelFile]:
    """Raises BundleError, also where the kernels belong to another root."""
    try:
        fields: dict[str, Any] = json.loads(raw)
        if fields["form"] != FORM:
            raise BundleError("this update is of a kind that came after this system. Please install one in between")
        rows: list[dict[str, Any]] = fields["files"]
        sound = all(
            isinstance(row["name"], str) and NAME.fullmatch(row["name"]) and isinstance(row["sha256"], str)
            and type(row["bytes"]) is int and row["bytes"] >= 0
            for row in rows
        )  # fmt: skip
        files = [KernelFile(**row) for row in rows]
        if not sound or not files or len(files) > MOST_KERNEL_FILES or len({file.name for file in files}) < len(files):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(NOT_A_BUNDLE) from None
    if fields.get("root_sha256") != root_sha256:
        raise BundleError("its kernels were made for another system, so it is not installed")
    return files


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

    def __init__(self, archive: tarfile.TarFile, manifest: Manifest, keys: Sequence[Path], work: Path) -> None:
        self.manifest = manifest
        self._archive = archive
        self._keys = keys
        self._work = work

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
            raise BundleError(NOT_WHAT_WAS_SIGNED)

    def kernels(self) -> list[KernelFile]:
        """The files of its kernels, to be had by `kernel_file` in this order. After the root. Raises BundleError."""
        try:
            raw = _read_member(self._archive, KERNELS)
            signature = _read_member(self._archive, KERNELS_SIGNATURE)
        except (tarfile.TarError, EOFError, ValueError):
            raise BundleError(CUT_SHORT) from None
        except BundleError:
            raise BundleError("it has no kernels: it was made for the first boxes, or its copy was cut short") from None
        verify_signature(raw, signature, self._keys, self._work)
        return read_kernel_list(raw, self.manifest.root_sha256)

    def kernel_file(self, file: KernelFile) -> Iterator[bytes]:
        """The next file's content, piece by piece. Raises BundleError at the end if it was not what was signed."""
        try:
            member = self._archive.next()
            if member is None or member.name != f"{KERNEL_FILES}{file.name}{PACKED}":
                raise BundleError(CUT_SHORT)
            packed = self._archive.extractfile(member)
            if packed is None:
                raise BundleError(NOT_A_BUNDLE)
            digest = hashlib.sha256()
            for chunk in _unpacked(packed, file.bytes):
                digest.update(chunk)
                yield chunk
        except (tarfile.TarError, EOFError):
            raise BundleError(CUT_SHORT) from None
        except lzma.LZMAError:
            raise BundleError(NOT_WHAT_WAS_SIGNED) from None
        if digest.hexdigest() != file.sha256:
            raise BundleError(NOT_WHAT_WAS_SIGNED)


def _unpacked(packed: IO[bytes], limit: int) -> Iterator[bytes]:
    """At most `limit` bytes and a piece. Raises LZMAError, EOFError."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, UNPACK_MEMORY_BYTES)
    given = 0
    while not decompressor.eof and given <= limit:
        data = b""
        if decompressor.needs_input and not (data := packed.read(CHUNK_BYTES)):
            raise EOFError
        chunk = decompressor.decompress(data, CHUNK_BYTES)
        given += len(chunk)
        yield chunk


def open_bundle(file: IO[bytes], keys: Sequence[Path], work: Path) -> Bundle:
    """Check the signature. Raises BundleError."""
    try:
        archive = tarfile.open(fileobj=file, mode="r|")  # noqa: SIM115  (its file is closed by whoever opened it)
        manifest = _read_member(archive, MANIFEST)
        signature = _read_member(archive, SIGNATURE)
    except (tarfile.TarError, EOFError, ValueError):
        raise BundleError(NOT_A_BUNDLE) from None
    verify_signature(manifest, signature, keys, work)
    return Bundle(archive, read_manifest(manifest), keys, work)


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.next()
    if member is None or member.name != name or not member.isreg() or member.size > LARGEST_MANIFEST_BYTES:
        if name == SIGNATURE:
            raise BundleError("it is not signed, so it is not installed")
        raise BundleError(NOT_A_BUNDLE)
    content = archive.extractfile(member)
    return content.read() if content else b""


@dataclass(frozen=True)
class SignedKernels:
    """The kernels of an update: their list, its signature, and each file's name and place."""

    listed: bytes
    signature: bytes
    files: Sequence[tuple[str, Path]]


def write_bundle(
    target: Path, manifest: bytes, signature: bytes, root: Path, epoch: int, kernels: SignedKernels | None = None
) -> None:
    """Put an update together; the same parts give the same bytes."""
    parts: list[tuple[str, bytes | Path]] = [(MANIFEST, manifest), (SIGNATURE, signature), (ROOT, root)]
    if kernels is not None:
        parts += [(KERNELS, kernels.listed), (KERNELS_SIGNATURE, kernels.signature)]
        for name, path in kernels.files:
            parts.append((f"{KERNEL_FILES}{name}{PACKED}", lzma.compress(path.read_bytes(), preset=PACKING)))
    with target.open("wb") as file, tarfile.open(fileobj=file, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name, part in parts:
            member = tarfile.TarInfo(name)
            member.size = len(part) if isinstance(part, bytes) else part.stat().st_size
            member.mtime, member.mode = epoch, 0o644
            with io.BytesIO(part) if isinstance(part, bytes) else part.open("rb") as content:
                archive.addfile(member, content)
