"""A machine of its own for tests of the package: a real systemd as process 1 of new namespaces, over a Debian root.

Shares the network with this machine, so that ordinary clients reach it; processes, mounts, host name and control groups
are its own. Nothing in it can change a setting of this machine's kernel. Needs root and unshare.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from support.needs import program

PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-systemd", "procps")
"""What a package of ours depends on, and an init."""

UP_TIMEOUT_S = 60.0
STEP_TIMEOUT_S = 120.0
POLL_S = 0.1

_KINDS = ("--mount", "--uts", "--ipc", "--pid", "--cgroup")

_BOOT = """
set -e
cd "$1"
mount --bind . .
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"; done
mkdir dev/pts dev/shm old
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for folder in dev/shm run tmp; do mount -t tmpfs tmpfs "$folder"; done
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init --show-status=no </dev/null >/dev/null 2>&1
"""


def why_not() -> str | None:
    """Why there can be no such machine here, or None."""
    if os.geteuid() != 0:
        return "namespaces with a systemd of their own need root"
    return None


def make_root(suite: str, mirror: str, archive: Path) -> None:
    """Make the root file system of a small Debian, as a tar archive; done once."""
    if archive.exists():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    made = archive.with_suffix(".new.tar")
    words = ["--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    subprocess.run([program("mmdebstrap", "root"), *words, suite, made, mirror], check=True, timeout=1200)
    made.replace(archive)


class Container:
    """A context manager: booted on entry, gone on exit. ``root`` is a folder with a root file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root. With `check`, a failure shows what was said."""
        enter = [
            "nsenter",
            f"--target={self._init}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            "--root",
            "--wd",
        ]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        done = subprocess.run(
            [*enter, *clean, *command], capture_output=True, text=True, timeout=STEP_TIMEOUT_S, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def property(self, unit: str, name: str) -> str:
        """A property of a unit, as systemctl shows it."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()

    def __enter__(self) -> Self:
        command = ["unshare", *_KINDS, "--fork", "--kill-child", "sh", "-c", _BOOT, "sh", str(self.root)]
        self._unshare = subprocess.Popen(command)
        try:
            self._await_up()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _await_up(self) -> None:
        assert self._unshare is not None
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        deadline_s = time.monotonic() + UP_TIMEOUT_S
        said = ""
        while time.monotonic() < deadline_s:
            if self._unshare.poll() is not None:
                raise AssertionError(f"the container ended with status {self._unshare.returncode}")
            self._init = int((children.read_text().split() or ["0"])[0])
            if self._init and Path(f"/proc/{self._init}/comm").read_text().strip() == "systemd":
                # "degraded" is a unit of the distribution that does not like containers.
                said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if said in ("running", "degraded"):
                    return
            time.sleep(POLL_S)
        raise AssertionError(f"the container did not come up: {said or 'no answer'}")

    def _end(self) -> None:
        if self._unshare is None:
            return
        self._unshare.kill()  # and with it the init, and with that everything in its namespace
        self._unshare.wait(STEP_TIMEOUT_S)
        self._unshare = None
        deadline_s = time.monotonic() + UP_TIMEOUT_S
        while self._init and Path(f"/proc/{self._init}").exists() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
