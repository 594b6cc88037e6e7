"""The list of parts (SPDX 2.3): every Debian package and every Python library in the image, with version and source."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from image.board_rootfs import package_list
from image.lock import TAKEN_APART, read_lock


def write_sbom(root: Path, kernel: str, target: Path, epoch: int) -> None:
    """Write what is in `root`, and the packages that were taken apart for kernel and firmware."""
    parts = [
        _part(p["name"], p["version"], f"pkg:deb/debian/{p['name']}@{p['version']}?arch={p['architecture']}")
        for p in package_list(root)
    ]
    parts += [
        _part(locked.name, locked.version, f"pkg:deb/debian/{locked.name}@{locked.version}", locked.sha256)
        for locked in read_lock()
        if locked.use == TAKEN_APART
    ]
    parts += [
        _part(name, version, f"pkg:pypi/{name.lower()}@{version}")
        for name, version in sorted(_python_libraries(root / "usr/lib/clasp-edge"))
    ]
    content = json.dumps(parts, sort_keys=True).encode()
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": target.name.removesuffix(".spdx.json"),
        "documentNamespace": f"urn:sha256:{hashlib.sha256(content).hexdigest()}",
        "creationInfo": {
            "created": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: clasp-edge image"],
            "comment": f"kernel {kernel}",
        },
        "packages": parts,
    }
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def _part(name: str, version: str, url: str, sha256: str = "") -> dict[str, object]:
    kind = url.removeprefix("pkg:").split("/", maxsplit=1)[0]
    part: dict[str, object] = {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{kind}-{name}"),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}],
    }
    if sha256:
        part["checksums"] = [{"algorithm": "SHA256", "checksumValue": sha256}]
    return part


def _python_libraries(directory: Path) -> list[tuple[str, str]]:
    found = []
    for metadata in directory.glob("*.dist-info/METADATA"):
        head = metadata.read_text(errors="replace").split("\n\n")[0]
        fields = dict(re.findall(r"^(Name|Version): (.*)$", head, re.MULTILINE))
        found.append((fields["Name"], fields["Version"]))
    return found
