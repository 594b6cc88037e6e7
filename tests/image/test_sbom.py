"""The list of parts is one that tools for SPDX read: unique identifiers, whole relations, checksums."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from image.lock import TAKEN_APART, read_lock
from image.sbom import sbom

EPOCH = 1_790_000_000
INNER = "some_lib.libs/libfoo-0a1b2c3d.so.1"


def made(tmp_path: Path) -> dict[str, Any]:
    for name, inner in (("lmdb", ""), ("some_lib", INNER)):
        folder = tmp_path / f"{name}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1.2\nLicense: MIT\n\nText\nName: other\n")
        (folder / "RECORD").write_text(f"{inner},,\n")
    (tmp_path / INNER).parent.mkdir()
    (tmp_path / INNER).write_bytes(b"elf")
    locked = read_lock()
    installed = [
        {"name": one.name, "version": one.version, "architecture": "arm64"} for one in locked if one.use != TAKEN_APART
    ]
    return sbom([*installed, installed[0]], locked, tmp_path, "6.12", "clasp-edge-0-arm64.img", EPOCH)


def test_identifiers_are_valid_and_each_is_there_once(tmp_path: Path) -> None:
    identifiers = [part["SPDXID"] for part in made(tmp_path)["packages"]]
    assert len(identifiers) == len(set(identifiers)) > 100
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one) for one in identifiers)


def test_every_part_is_reached_from_the_document(tmp_path: Path) -> None:
    document = made(tmp_path)
    reached, waiting = set(), ["SPDXRef-DOCUMENT"]
    while waiting:
        one = waiting.pop()
        reached.add(one)
        waiting += [r["relatedSpdxElement"] for r in document["relationships"] if r["spdxElementId"] == one]
    assert reached - {"SPDXRef-DOCUMENT"} == {part["SPDXID"] for part in document["packages"]}


def test_every_package_of_debian_has_the_checksum_of_its_archive(tmp_path: Path) -> None:
    locked = {one.sha256 for one in read_lock()}
    packages = [part for part in made(tmp_path)["packages"] if part["SPDXID"].startswith("SPDXRef-deb-")]
    assert len(packages) > 100
    for part in packages:
        (checksum,) = part["checksums"]
        assert checksum["checksumValue"] in locked


def test_libraries_inside_libraries_are_named(tmp_path: Path) -> None:
    by_name = {part["name"]: part for part in made(tmp_path)["packages"]}
    assert "liblmdb" in by_name
    (checksum,) = by_name["libfoo.so.1"]["checksums"]
    assert checksum["checksumValue"] == hashlib.sha256(b"elf").hexdigest()
    assert (by_name["lmdb"]["versionInfo"], by_name["lmdb"]["licenseComments"]) == ("1.2", "MIT")


def test_what_spdx_asks_of_every_part(tmp_path: Path) -> None:
    document = made(tmp_path)
    assert re.fullmatch(r"https://[!-~]+", document["documentNamespace"])
    assert re.fullmatch(r"[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}Z", document["creationInfo"]["created"])
    for part in document["packages"]:
        assert part["name"]
        assert part["downloadLocation"] == "NOASSERTION"
        assert part["filesAnalyzed"] is False
