"""Brings the locked packages into the cache, each checked against its checksum, and lays them out for apt.

Knows the lock and the mirror; not what the packages are for.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

from image.lock import INSTALLED, MIRROR, Locked
from image.paths import DEBS, SUITE

TRIES = 4


def fetch(packages: list[Locked]) -> int:
    """Make sure that every package lies in the cache; the number that had to be fetched.

    Raises SystemExit with a sentence when one cannot be had or is not what the lock says.
    """
    DEBS.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not (DEBS / package.file).exists()]
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(_fetch_one, missing))
    return len(missing)


def _fetch_one(package: Locked) -> None:
    url = f"{MIRROR}/{package.path.replace('+', '%2b')}"
    content = _download(url, package)
    found = hashlib.sha256(content).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"{url} is not what packages.lock says: sha256 {found} instead of {package.sha256}")
    partial = DEBS / (package.file + ".partial")
    partial.write_bytes(content)
    partial.rename(DEBS / package.file)


def _download(url: str, package: Locked) -> bytes:
    problem: OSError | None = None
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                raise SystemExit(
                    f"{package.name} {package.version} is no longer in Debian's archive: a newer one has taken its "
                    "place. Renew the lock: make image-lock"
                ) from None
            problem = error
        except OSError as error:
            problem = error
        time.sleep(2**attempt)
    raise SystemExit(f"cannot fetch {url}: {problem}")


def cached(packages: list[Locked], name: str) -> Path:
    """The file of the one package whose name begins with `name`."""
    return next(DEBS / package.file for package in packages if package.name.startswith(name))


def lay_out_archive(packages: list[Locked], directory: Path) -> None:
    """An archive that holds exactly the packages to install, so that nothing else can be chosen."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    entries = []
    for package in sorted((p for p in packages if p.use == INSTALLED), key=lambda p: p.name):
        source = DEBS / package.file
        target = directory / f"{package.name}.deb"
        target.hardlink_to(source)
        control = subprocess.run(["dpkg-deb", "-f", source], text=True, capture_output=True, check=True).stdout.rstrip()
        entries.append(
            f"{control}\nFilename: ./{target.name}\nSize: {source.stat().st_size}\nSHA256: {package.sha256}\n"
        )
    index = "\n".join(entries).encode()
    (directory / "Packages").write_bytes(index)
    # mmdebstrap asks for the essential packages "of the archive named trixie".
    (directory / "Release").write_text(
        f"Suite: {SUITE}\nCodename: {SUITE}\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    )
