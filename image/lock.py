"""Resolves packages.txt against Debian's archive and writes packages.lock: every package with version and checksum.

Run by hand when packages are to be renewed; a build reads only the lock. Uses apt with a configuration of its own, so
that the machine's apt is neither consulted nor changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable
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


def newest() -> list[Locked]:
    """What the archive has now of packages.txt and of what that needs. Raises SystemExit."""
    install, take_apart = read_packages(PACKAGES.read_text())
    apt = _Apt(WORK / "apt")
    apt.run("apt-get", "-q", "update")
    locked = apt.resolve(INSTALLED, [*apt.essential(), *install])
    for name in take_apart:
        for real in apt.real_names(name):
            locked += apt.resolve_alone(TAKEN_APART, real)
    return list({(row.use, row.name): row for row in locked}.values())


def write_lock() -> None:
    """Ask the archive what is newest, and write it down."""
    locked = newest()
    print(report(read_lock(), locked, int(time.time()) - read_epoch()), end="")
    head = (
        "# Written by `python3 -m image lock` from packages.txt: use, package, version, sha256, path in the archive.\n"
        f"{EPOCH_MARK}{int(time.time())}\n"
    )
    rows = sorted(f"{r.use} {r.name} {r.version} {r.sha256} {r.path}" for r in locked)
    LOCK.write_text(head + "\n".join(rows) + "\n")
    print(f"{LOCK.name}: {len(rows)} packages")


def report_outdated() -> int:
    """Print what the lock has and the archive has newer; 0 when there is nothing."""
    old, new = read_lock(), newest()
    print(report(old, new, int(time.time()) - read_epoch()), end="")
    return 1 if outdated(old, new) else 0


def outdated(old: Iterable[Locked], new: Iterable[Locked]) -> list[tuple[Locked | None, Locked | None]]:
    """Packages that differ, as they are locked and as the archive has them; those from its security archive first.

    A kernel's packages bear its release in their names: the new one stands beside the one whose place it takes.
    """
    before, after = ({(row.use, _family(row.name)): row for row in rows} for rows in (old, new))
    pairs = [(before.get(key), after.get(key)) for key in sorted({*before, *after})]
    changed = [pair for pair in pairs if pair[0] is None or pair[1] is None or pair[0].sha256 != pair[1].sha256]
    return sorted(changed, key=lambda pair: not is_security(pair[1]))


def is_security(row: Locked | None) -> bool:
    """Whether it mends what must not wait: it comes from Debian's security archive, or is an update of the stable
    release, which takes only such."""
    return row is not None and (
        row.path.startswith("debian-security/") or re.search(r"[+~]deb\d+u\d+", row.version) is not None
    )


def report(old: Iterable[Locked], new: Iterable[Locked], age_s: int) -> str:
    """What is outdated, a line for each package, and why it matters."""
    changed = outdated(old, new)
    if not changed:
        return f"packages.lock is {age_s // 86400} days old, and every package in it is the newest.\n"
    lines = [f"packages.lock is {age_s // 86400} days old; {len(changed)} packages in it are outdated:"]
    for before, after in changed:
        name = after.name if after else before.name if before else ""
        versions = f"{before.version if before else 'none'} -> {after.version if after else 'none'}"
        reason = "a fault of security, or another that must not wait" if is_security(after) else "newer"
        kernel = ", a kernel: boxes get it by their next update" if _family(name) in KERNELS else ""
        lines.append(f"  {name:32} {versions}: {reason}{kernel}")
    return "".join(f"{line}\n" for line in lines)


KERNELS = ("linux-image-", "linux-binary-", "linux-modules-", "linux-base-")


def _family(name: str) -> str:
    found = next((kernel for kernel in KERNELS if name.startswith(kernel)), "")
    return found if re.search(r"-[0-9]", name) and found else name


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
