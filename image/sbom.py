"""The list of parts (SPDX 2.3): every Debian package, every Python library and what these bring along inside.

Each has version, source and a checksum: Debian packages of their archive (the lock has it), libraries of their RECORD,
which has the checksum of each file, and what lies in a library of its own file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from image.board_rootfs import package_list
from image.lock import TAKEN_APART, Locked, read_lock

ROOT_ID = "SPDXRef-image"

COMPILED_IN = {
    "lmdb": ("liblmdb",),
    "uvloop": ("libuv",),
    "qh3": ("aws-lc", "rustls"),
    "cryptography": ("openssl",),
}
"""What these wheels have linked into themselves, where no file shows it."""


@dataclass(frozen=True)
class Inner:
    """A library inside another."""

    name: str
    sha256: str


def write_sbom(root: Path, kernel: str, target: Path, epoch: int) -> None:
    """Write what is in `root`, and the packages that were taken apart for kernel and firmware."""
    libraries, name = root / "usr/lib/clasp-edge", target.name.removesuffix(".spdx.json")
    document = sbom(package_list(root), read_lock(), libraries, kernel, name, epoch)
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def sbom(
    installed: Sequence[dict[str, str]], locked: Sequence[Locked], libraries: Path, kernel: str, name: str, epoch: int
) -> dict[str, Any]:
    """The document. `installed` as `package_list` has it."""
    archives = {(one.name, one.version): one.sha256 for one in locked}
    parts = [
        _part("deb", p["name"], p["version"], archives.get((p["name"], p["version"]), ""), p["architecture"])
        for p in installed
    ]
    for one in locked:
        if one.use == TAKEN_APART:
            part = _part("deb", one.name, one.version, one.sha256)
            part["SPDXID"] += "-files"
            parts.append(part)
    relations = []
    inside: set[str] = set()
    for folder in sorted(libraries.glob("*.dist-info")):
        part, inner = _library(libraries, folder)
        parts += [part, *inner]
        relations += [_relation(part["SPDXID"], "CONTAINS", one["SPDXID"]) for one in inner]
        inside.update(one["SPDXID"] for one in inner)
    parts = list({part["SPDXID"]: part for part in parts}.values())
    whole = _part("generic", name, "", "") | {"SPDXID": ROOT_ID}
    outer = [_relation(ROOT_ID, "CONTAINS", part["SPDXID"]) for part in parts if part["SPDXID"] not in inside]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{_plain(name)}-{digest}",
        "creationInfo": {
            "created": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: clasp-edge-image"],
            "comment": f"kernel {kernel}",
        },
        "packages": [whole, *parts],
        "relationships": [_relation("SPDXRef-DOCUMENT", "DESCRIBES", ROOT_ID), *outer, *relations],
    }


def _library(libraries: Path, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A Python library, and the libraries of others inside it."""
    about = HeaderParser().parsestr((folder / "METADATA").read_text("utf-8", errors="replace"))
    name = str(about["Name"])
    record = folder / "RECORD"
    raw = record.read_bytes() if record.exists() else b""
    part = _part("pypi", name, str(about["Version"]), hashlib.sha256(raw).hexdigest() if raw else "")
    part["comment"] = "The checksum is that of the library's RECORD, which has the checksum of each of its files."
    licence = about["License-Expression"] or (about["License"] or "").split("\n")[0]
    if licence:
        part["licenseComments"] = str(licence)
    inner = [Inner(one, "") for one in COMPILED_IN.get(name.lower(), ())]
    for line in raw.decode("utf-8", errors="replace").splitlines():
        file = libraries / line.split(",")[0]
        if ".libs/" in line and file.is_file():
            inner.append(
                Inner(re.sub(r"-[0-9a-f]{8,}(?=\.)", "", file.name), hashlib.sha256(file.read_bytes()).hexdigest())
            )
    return part, [_inside(name, one) for one in inner]


def _inside(library: str, inner: Inner) -> dict[str, Any]:
    part = _part("generic", inner.name, "", inner.sha256)
    part["SPDXID"] += f"-in-{_plain(library)}"
    return part


def _part(kind: str, name: str, version: str, sha256: str, architecture: str = "") -> dict[str, Any]:
    qualifier = f"?arch={architecture}" if architecture else ""
    urls = {"deb": f"pkg:deb/debian/{name}@{version}{qualifier}", "pypi": f"pkg:pypi/{name.lower()}@{version}"}
    part: dict[str, Any] = {
        "SPDXID": f"SPDXRef-{kind}-{_plain(name)}",
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }
    if version:
        part["versionInfo"] = version
    if kind in urls:
        part["externalRefs"] = [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": urls[kind]}
        ]
    if sha256:
        part["checksums"] = [{"algorithm": "SHA256", "checksumValue": sha256}]
    return part


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _plain(text: str) -> str:
    """What an identifier may hold (SPDX 2.3, 3.2)."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)
