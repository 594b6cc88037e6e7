"""`make fresh-test`: the two commands of the README on machines that have nothing, as their first users type them.

For each release: a root file system with `make`, `git`, `ca-certificates` and Python, a clone of HEAD in it, `make run`
until it is ready, then `make test`. What this machine has been told about its network (name servers, proxies, further
certificates, package mirrors) goes along. Needs root. Everything is kept in $FRESH_DIR
(/var/tmp/clasp-edge-fresh); the logs are what to read.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(os.environ.get("FRESH_DIR", "/var/tmp/clasp-edge-fresh"))
"""Outside the checkout: a build looks at every folder in it, and follows the links of a root file system."""
SUITES = ("bookworm", "trixie")
PACKAGES = "make,git,ca-certificates,python3"
MIRROR = "http://deb.debian.org/debian"

NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/npmrc", "/root/.npmrc", "/root/.pip/pip.conf")
CERTIFICATES = "/usr/local/share/ca-certificates"
VARIABLES = re.compile(r"(https?|ftp|no)_proxy|pip_.*|npm_config_.*|node_extra_ca_certs|ssl_cert_.*", re.IGNORECASE)

ENTER = """
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs run
exec chroot . sh -ec "$2"
"""


def make_root(suite: str, mirror: str) -> Path:
    """A new root file system, from an archive that is made once."""
    archive, root = PLACE / f"{suite}.tar", PLACE / suite
    if not archive.exists():
        options = [f"--aptopt={line}" for line in apt_options()]
        command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}", *options]
        unfinished = PLACE / f"{suite}.new.tar"
        PLACE.mkdir(parents=True, exist_ok=True)
        subprocess.run([*command, suite, unfinished, mirror, f"deb {mirror} {suite}-updates main"], check=True)
        unfinished.rename(archive)
    if root.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)
    root.mkdir(parents=True)
    subprocess.run(["tar", "-xpf", archive, "-C", root], check=True)
    for name in NETWORK:
        if os.path.exists(name):
            target = root / name.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(name, target)
    if os.path.isdir(CERTIFICATES):
        shutil.copytree(CERTIFICATES, root / CERTIFICATES.lstrip("/"), dirs_exist_ok=True)
        enter(root, "update-ca-certificates >/dev/null 2>&1")
    bundle = root / "root" / "clone.bundle"
    subprocess.run(["git", "-C", ROOT, "bundle", "create", "-q", bundle, "HEAD"], check=True)
    enter(root, "git -c advice.detachedHead=false clone -q /root/clone.bundle /root/clasp-edge")
    return root


def apt_options() -> list[str]:
    """How this machine's apt reaches its mirrors."""
    said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if re.match(r'Acquire::(https?::|Check-)[^ ]* "[^"]', line)]


def command_in(root: Path, script: str) -> list[str]:
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", str(root), script]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if VARIABLES.fullmatch(name)}
    return kept | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "CI": "true"}


def enter(root: Path, script: str) -> None:
    """Run this inside. Raises CalledProcessError."""
    subprocess.run(command_in(root, script), check=True, env=environment(), stdin=subprocess.DEVNULL)


def cpu_s(ancestor: int) -> float:
    """The CPU time of a process, of those that it has started, and of all that these have waited for."""
    parents, spent = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            pid = int(status.parent.name)
            parents[pid], spent[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    family = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(spent.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")


def run_until_ready(root: Path, log: Path) -> tuple[float, float]:
    """`make run` until the line `ready`; returns the seconds by the clock, and of CPU. Raises RuntimeError."""
    began_s = time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(
            command_in(root, "cd /root/clasp-edge && exec make run"),
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            out.flush()
            if line.startswith("ready "):
                took_s, worked_s = time.monotonic() - began_s, cpu_s(process.pid)
                process.kill()  # with --kill-child everything inside goes too
                process.wait(30)
                return took_s, worked_s
    raise RuntimeError(f"`make run` ended with status {process.wait()}; {log}")


def run_tests(root: Path, log: Path) -> float:
    """What CI runs; returns the seconds. Raises RuntimeError."""
    began_s = time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(
            command_in(root, "cd /root/clasp-edge && exec bash .ci/run"),
            env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"`make test` ended with status {done.returncode}; {log}")
    return time.monotonic() - began_s


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fresh-test", description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this release (may be repeated)")
    parser.add_argument("--mirror", default=MIRROR, help="of Debian's packages")
    parser.add_argument("--only-run", action="store_true", help="leave `make test` out")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("fresh-test: needs root", file=sys.stderr)
        return 1
    failed = False
    for suite in arguments.suite or SUITES:
        try:
            root = make_root(suite, arguments.mirror)
            took_s, worked_s = run_until_ready(root, PLACE / f"{suite}-run.log")
            print(f"{suite}: ready {took_s:.0f} s after `make run`, {worked_s:.0f} s of CPU", flush=True)
            if not arguments.only_run:
                print(
                    f"{suite}: `make test` green after {run_tests(root, PLACE / f'{suite}-test.log'):.0f} s", flush=True
                )
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{suite}: {error}", file=sys.stderr, flush=True)
            failed = True
    return int(failed)


sys.exit(main())
