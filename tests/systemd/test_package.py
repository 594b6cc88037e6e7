"""The Debian package of this machine's release: built, installed, upgraded over, purged.

On a layer over this machine's own root, which is thrown away; a systemd that runs is not needed. What it is like under
one is told by `make deb-test`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import PROJECT_ROOT

RELEASES = {"12": ("bookworm", (3, 11)), "13": ("trixie", (3, 13))}

LAYER = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
cp "$2" "$1/root/opt/package.deb"
exec chroot "$1/root" sh -c "$3"
"""


def why_not() -> str | None:
    """Why the package cannot be installed here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if platform.freedesktop_os_release().get("ID") != "debian":
        return "this is not Debian"
    release = RELEASES.get(platform.freedesktop_os_release().get("VERSION_ID", ""))
    if release is None or sys.version_info[:2] != release[1]:
        return "this Python is not that of a Debian release there are packages for"
    for name in ("python3-systemd", "systemd", "python3"):
        if subprocess.run(["dpkg", "--status", name], capture_output=True, check=False).returncode != 0:
            return f"{name} is not installed"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("package")
    suite, _ = RELEASES[platform.freedesktop_os_release()["VERSION_ID"]]
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, "systemd/deb", "--reuse", f"--suite={suite}", f"--arch={arch}", f"--out={out}"]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, timeout=300, env=os.environ | {"SOURCE_DATE_EPOCH": "86400"})
    (made,) = out.iterdir()
    yield made
    shutil.rmtree(out)


def layered(package: Path, directory: Path, script: str) -> str:
    """What a shell script prints that runs on the layer, with the package as /opt/package.deb."""
    command = ["unshare", "--mount", "--net", "sh", "-c", LAYER, "sh", str(directory), str(package), script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_has_what_it_should_have_and_nothing_of_the_build(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout
    entries = [line.split() for line in listed.splitlines()]
    names = {words[5].removeprefix(".") for words in entries}
    assert {
        "/usr/bin/clasp-edge",
        "/usr/lib/clasp-edge/clasp_edge/config/default.toml",
        "/usr/lib/systemd/system/clasp-edge.service",
        "/usr/lib/systemd/system/clasp-edge-ws.socket",
        "/usr/lib/systemd/system/clasp-edge-mqtt.socket",
        "/usr/lib/sysusers.d/clasp-edge.conf",
        "/etc/clasp-edge/clasp-edge.toml",
        "/etc/clasp-edge/conf.d/",
        "/usr/share/doc/clasp-edge/service.md",
    } <= names
    for source in (PROJECT_ROOT / "clasp_edge").rglob("*.pyx"):
        module = f"/usr/lib/clasp-edge/{source.relative_to(PROJECT_ROOT).with_suffix('')}.cpython"
        assert any(name.startswith(module) for name in names), module
    assert not [name for name in names if name.endswith((".c", ".pyx", ".pxd", ".pyc")) or "__pycache__" in name]
    assert {words[1] for words in entries} == {"root/root"}
    assert {words[3] for words in entries} == {"1970-01-02"}
    assert {words[0] for words in entries} == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x"}


def test_the_libraries_inside_are_those_of_the_lock(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    inside = {path.name.removesuffix(".dist-info") for path in (tmp_path / "usr/lib/clasp-edge").glob("*.dist-info")}
    lock = (PROJECT_ROOT / "systemd/deb/wheels.lock").read_text()
    locked = {
        f"{name.replace('-', '_')}-{version}" for name, version in re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)
    }
    assert inside == locked
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        assert any(name.startswith(re.split(r"[<>=]", text)[0]) for name in inside), text


INSTALL_AND_RUN = """
dpkg --install /opt/package.deb >&2
stat --format='%A %U %G %n' /etc/clasp-edge/clasp-edge.toml /etc/clasp-edge/conf.d
clasp-edge --version
clasp-edge check
cd / && PYTHONPATH=/nowhere setpriv --reuid=clasp-edge --regid=clasp-edge --clear-groups \
    timeout --signal=TERM 5 clasp-edge run --set data_dir=/tmp/data --set websocket.listen=:7330 | grep ^ready
ls -d /usr/lib/clasp-edge/clasp_edge/__pycache__
"""


def test_it_can_be_installed_and_runs(package: Path, tmp_path: Path) -> None:
    lines = layered(package, tmp_path, INSTALL_AND_RUN).splitlines()
    assert lines[:2] == [
        "-rw-r----- root clasp-edge /etc/clasp-edge/clasp-edge.toml",
        "drwxr-x--- root clasp-edge /etc/clasp-edge/conf.d",
    ]
    assert lines[2].startswith("clasp-edge ")
    assert lines[3] == "ok"
    assert lines[4].startswith("ready ws://")
    assert lines[5] == "/usr/lib/clasp-edge/clasp_edge/__pycache__"


UPGRADE = """
dpkg --install /opt/package.deb >&2
echo 'name = "mine"' >> /etc/clasp-edge/clasp-edge.toml
echo 'name = "dropped in"' > /etc/clasp-edge/conf.d/50-mine.toml
mkdir -p /var/lib/clasp-edge/journal && echo kept > /var/lib/clasp-edge/journal/data
systemctl is-enabled clasp-edge.service
dpkg-deb --raw-extract /opt/package.deb /tmp/later
sed -i 's/^Version: .*/&+later/' /tmp/later/DEBIAN/control
echo '# later' >> /tmp/later/etc/clasp-edge/clasp-edge.toml
dpkg-deb --root-owner-group -Znone --build /tmp/later /opt/later.deb >&2
systemctl --quiet disable clasp-edge.service
dpkg --install --force-confold /opt/later.deb >&2
tail -n 1 /etc/clasp-edge/clasp-edge.toml
cat /etc/clasp-edge/conf.d/50-mine.toml /var/lib/clasp-edge/journal/data
systemctl is-enabled clasp-edge.service || true
dpkg --remove clasp-edge >&2
cat /var/lib/clasp-edge/journal/data
ls /etc/clasp-edge
find /usr/lib/clasp-edge 2>/dev/null || echo gone
dpkg --purge clasp-edge >&2
ls -d /etc/clasp-edge /var/lib/clasp-edge 2>/dev/null || echo clean
find /etc/systemd /var/lib/systemd -name 'clasp-edge*'
"""


def test_an_upgrade_keeps_and_a_purge_does_not(package: Path, tmp_path: Path) -> None:
    assert layered(package, tmp_path, UPGRADE).splitlines() == [
        "enabled",
        'name = "mine"',
        'name = "dropped in"',
        "kept",
        "disabled",
        "kept",
        "clasp-edge.toml",
        "clasp-edge.toml.dpkg-dist",  # the new default, to be looked at
        "conf.d",
        "gone",
        "clean",
    ]
