"""Resolves packages.txt against Debian's archive and writes packages.lock: every package with version and checksum.

Run by hand when packages are to be renewed; a build reads only the lock. Uses apt with a configuration of its own, so
that the machine's apt is neither consulted nor changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from image.paths import ARCHITECTURE, LOCK, PACKAGES, WORK

MIRROR = os.environ.get("IMAGE_MIRROR", "http://deb.debian.org")
SUITES = {
    "debian": ("trixie", "trixie-updates", "trixie-backports"),
    "debian-security": ("trixie-security",),
}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

EPOCH_MARK = "# epoch "
"""The time of the lock, which the files in the root bear: a root is the same as long as its lock is."""

INSTALLED = "root"
TAKEN_APART = "part"


@dataclass(frozen=True)
class Locked:
    """One package as it must be."""

    use: str
    """INSTALLED or TAKEN_APART."""
    name: str
    version: str
    sha256: str
    path: str
    """Below the mirror: debian/pool/..."""

    @property
    def file(self) -> str:
        """The name it is kept under."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.sha256[:8]}.deb"


def read_lock(lock: Path = LOCK) -> list[Locked]:
    """What must be fetched. Raises FileNotFoundError without a lock."""
    rows = (line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return [Locked(*row) for row in rows]


def read_epoch(lock: Path = LOCK) -> int:
    """When the lock was made."""
    line = next(line for line in lock.read_text().splitlines() if line.startswith(EPOCH_MARK))
    return int(line.removeprefix(EPOCH_MARK))


def read_packages(text: str) -> tuple[list[str], list[str]]:
    """The packages to install, and those to take apart; `NAME/SUITE` is one that is not installed by itself."""
    install, take_apart = [], []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "+":
            take_apart.append(words[1])
        else:
            install.append(words[0])
    return install, take_apart


def write_lock() -> None:
    """Ask the archive what is newest, and write it down."""
    install, take_apart = read_packages(PACKAGES.read_text())
    apt = _Apt(WORK / "apt")
    apt.run("apt-get", "-q", "update")
    locked = apt.resolve(INSTALLED, [*apt.essential(), *install])
    for name in take_apart:
        for real in apt.real_names(name):
            locked += apt.resolve_alone(TAKEN_APART, real)
    unique = {(row.use, row.name): row for row in locked}
    head = (
        "# Written by `python3 -m image lock` from packages.txt: use, package, version, sha256, path in the archive.\n"
        f"{EPOCH_MARK}{int(time.time())}\n"
    )
    rows = sorted(f"{r.use} {r.name} {r.version} {r.sha256} {r.path}" for r in unique.values())
    LOCK.write_text(head + "\n".join(rows) + "\n")
    print(f"{LOCK.name}: {len(rows)} packages")


class _Apt:
    def __init__(self, directory: Path) -> None:
        for sub in ("state/lists/partial", "cache/archives/partial", "etc/parts", "etc/preferences.d"):
            (directory / sub).mkdir(parents=True, exist_ok=True)
        (directory / "state/status").touch()
        lines = [
            f"deb [arch={ARCHITECTURE} signed-by={KEYRING}] {MIRROR}/{archive} {suite} main non-free-firmware\n"
            for archive, suites in SUITES.items()
            for suite in suites
        ]
        (directory / "sources.list").write_text("".join(lines))
        (directory / "apt.conf").write_text(
            f'Dir "{directory}";\nDir::State "{directory}/state";\nDir::State::status "{directory}/state/status";\n'
            f'Dir::Cache "{directory}/cache";\nDir::Etc "{directory}/etc";\n'
            f'Dir::Etc::sourcelist "{directory}/sources.list";\nDir::Etc::sourceparts "{directory}/etc/parts";\n'
            f'Dir::Etc::main "/dev/null";\nDir::Etc::parts "{directory}/etc/parts";\n'
            f'APT::Architecture "{ARCHITECTURE}";\nAPT::Architectures {{ "{ARCHITECTURE}"; }};\n'
            'APT::Install-Recommends "false";\nAcquire::Languages "none";\nAPT::Sandbox::User "root";\n'
        )
        self._environment = {**os.environ, "APT_CONFIG": str(directory / "apt.conf"), "LC_ALL": "C"}

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self._environment, text=True, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise SystemExit(f"lock: {' '.join(command[:3])} ... failed")
        return done.stdout

    def resolve(self, use: str, packages: list[str]) -> list[Locked]:
        """The packages with all they need."""
        uris = self.run("apt-get", "--print-uris", "-y", "install", *packages)
        return [self._locked(use, uri) for uri in re.findall(r"^'([^']+\.deb)'", uris, re.MULTILINE)]

    def essential(self) -> list[str]:
        """The packages that Debian cannot be without; apt, which calls itself one of them, is none for the board."""
        entries = self.run("apt-cache", "dumpavail").split("\n\n")
        return [entry.split()[1] for entry in entries if re.search(r"^Essential: yes", entry, re.MULTILINE)]

    def resolve_alone(self, use: str, name: str) -> list[Locked]:
        uris = self.run("apt-get", "--print-uris", "download", name)
        return [self._locked(use, uri) for uri in re.findall(r"^'([^']+)'", uris, re.MULTILINE)]

    def real_names(self, name: str) -> list[str]:
        """The packages behind one that only depends on them, as linux-image-arm64 does; else the package itself."""
        if not name.startswith("linux-image-"):
            return [name]
        uri = self.run("apt-get", "--print-uris", "download", name).split("'")[1]
        version = unquote(uri).rsplit("_", 2)[1]
        about = self.run("apt-cache", "show", f"{name.split('/', maxsplit=1)[0]}={version}")
        behind = [word for word in re.findall(r"\b(linux-\w+-[0-9]\S*) \(= ", about) if "-arm64" in word]
        # An image that has become a bundle of packages is empty itself.
        return [real for word in behind for real in self.real_names(word)] or [name]

    def _locked(self, use: str, uri: str) -> Locked:
        path = unquote(uri.removeprefix(MIRROR + "/"))
        stem = path.rsplit("/", 1)[1].removesuffix(".deb")
        name, version, _ = stem.split("_")
        shown = self.run("apt-cache", "show", name)
        for entry in shown.split("\n\n"):
            fields = dict(re.findall(r"^(\w+): (.*)$", entry, re.MULTILINE))
            if fields.get("Filename") and path.endswith(unquote(fields["Filename"])):
                return Locked(use, name, fields["Version"], fields["SHA256"], path)
        raise SystemExit(f"lock: {name} {version} is not in the archive's index")
