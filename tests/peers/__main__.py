"""`make peers`: the suites that others have written for MQTT servers, run against this router.

Fetched, not kept here: paho.mqtt.golang's functional tests from the Go module proxy, the Paho interoperability suites
and Mosquitto's own broker scripts from their repositories, or from checkouts that the environment names. Each test that
fails and is not in `KNOWN` is a failure here; each that is in it says why.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support.daemon import Daemon  # noqa: E402

PLACE = Path(os.environ.get("PEERS_DIR", "/var/tmp/clasp-edge-peers"))
GOLANG = "github.com/eclipse/paho.mqtt.golang"
REPOSITORIES = {
    "paho.mqtt.testing": ("PAHO_TESTING", "https://github.com/eclipse/paho.mqtt.testing", "master"),
    "mosquitto": ("MOSQUITTO_SOURCE", "https://github.com/eclipse/mosquitto", "v2.0.22"),
}

KNOWN = json.loads((HERE / "known.json").read_text())
"""By suite and test: why it fails here, and is not ours."""


@dataclass
class Result:
    """What became of one suite's tests."""

    suite: str
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    missing: str = ""

    @property
    def new(self) -> list[str]:
        """Failures that nobody has judged."""
        return [name for name in self.failed if name not in KNOWN.get(self.suite, {})]


def checkout(name: str) -> Path:
    """The sources of a suite; raises CalledProcessError where they cannot be had."""
    variable, address, branch = REPOSITORIES[name]
    if variable in os.environ:
        return Path(os.environ[variable])
    place = PLACE / name
    if not place.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["git", "clone", "-q", "--depth", "1", "--branch", branch, address, place],
            check=True, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    return place


@contextmanager
def router(**sets: object) -> Iterator[tuple[str, int]]:
    """A router of its own, with an open door and no rate that a suite could reach."""
    with Daemon(mqtt=True, messages_per_second=100_000, sets=sets) as daemon:
        yield daemon.mqtt_address


PAHO_DRIVER = """
import logging, sys, unittest
name, host, port, prefix = sys.argv[1:]
suite = __import__(name)
logging.getLogger().setLevel(logging.ERROR)
suite.host, suite.port, suite.topic_prefix = host, int(port), prefix
suite.topics = [prefix + topic for topic in ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")]
suite.wildtopics = [prefix + topic for topic in ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")]
suite.nosubscribe_topics = ("test/nosubscribe",)
unittest.main(module=suite, argv=[name])
"""
"""Its programs give their own options to unittest, which does not know them."""


def paho(module: str, prefix: str) -> Result:
    """One of the Paho interoperability suites: a program of unittest."""
    result = Result(f"paho.mqtt.testing {module}")
    place = checkout("paho.mqtt.testing") / "interoperability"
    with router() as (host, port):
        done = subprocess.run(
            [sys.executable, "-c", PAHO_DRIVER, module, host, str(port), prefix],
            cwd=place, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
    said = done.stdout + done.stderr
    count = re.search(r"^Ran (\d+) tests", said, re.MULTILINE)
    if count is None:
        result.missing = said.strip().splitlines()[-1] if said.strip() else "it says nothing"
        return result
    result.failed = sorted(set(re.findall(r"^(?:FAIL|ERROR): (\w+)", said, re.MULTILINE)))
    result.passed = [""] * (int(count[1]) - len(result.failed))
    return result


def golang() -> Result:
    """paho.mqtt.golang's own tests; those named FVT need a server at 127.0.0.1:1883; the port is put in."""
    result = Result("paho.mqtt.golang")
    place = PLACE / "paho.mqtt.golang"
    if not place.exists():
        fetched = subprocess.run(
            ["go", "mod", "download", "-json", f"{GOLANG}@latest"],
            cwd=tempfile.gettempdir(), capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        shutil.copytree(json.loads(fetched.stdout)["Dir"], place)
        subprocess.run(["chmod", "-R", "u+w", place], check=True)
    with router() as (host, port):
        source = place / "fvt_test.go"
        source.write_text(re.sub(r'":\d+"', f'":{port}"', source.read_text(), count=1))
        done = subprocess.run(
            ["go", "test", "-count=1", "-v", "-skip", "|".join(KNOWN[result.suite]), "."],  # they would wait for ever
            cwd=place, env={**os.environ, "TEST_FVT_ADDR": host}, capture_output=True, text=True, timeout=900,
            check=False,
        )  # fmt: skip
    for verdict, name in re.findall(r"^--- (PASS|FAIL|SKIP): (\w+)", done.stdout, re.MULTILINE):
        {"PASS": result.passed, "FAIL": result.failed, "SKIP": result.skipped}[verdict].append(name)
    if not result.passed or "panic:" in done.stdout:
        result.missing = (done.stderr or done.stdout).strip().splitlines()[-1]
    return result


ANSWERS = """
_expect = expect_packet
SUCCESS = {(b"\\x40", b"\\x10"), (b"\\x50", b"\\x10"), (b"\\x70", b"\\x92")}


def _core(packet):
    kind = packet[:1]
    if kind == b"\\x20":
        return kind + packet[2:4]
    if kind == b"\\xe0":
        return kind + (packet[2:3] or b"\\0")
    reason = packet[4:5] or b"\\0"
    return kind + packet[2:4] + (b"\\0" if (kind, reason) in SUCCESS else reason)


def expect_packet(sock, name, expected):
    if expected == b"":
        recvd = sock.recv(4)
        if not recvd or recvd[:1] == b"\\x20" and recvd[3:4] != b"\\0":
            return True
        raise TestError
    if expected[:1] not in (b"\\x20", b"\\x40", b"\\x50", b"\\x62", b"\\x70", b"\\xe0"):
        return _expect(sock, name, expected)
    recvd = b""
    while len(recvd) < 2 or len(recvd) < 2 + recvd[1]:
        more = sock.recv(2 + recvd[1] - len(recvd) if len(recvd) >= 2 else 2 - len(recvd))
        if not more:
            break
        recvd += more
    if packet_matches(name, _core(recvd), _core(expected)):
        return True
    raise TestError
"""
"""The scripts compare byte for byte, with Mosquitto's limits in CONNACK and without the texts that say why in other
answers. Of these the kind, the identifier, the flags and the reason count. That nobody is subscribed (0x10) may be said
or not, and PUBREL for a message that is done with is no error (4.3.3); who is refused may be told why or not."""


def mosquitto() -> Result:
    """Mosquitto's broker scripts: each starts what it takes for Mosquitto, and that is `as_mosquitto.py`."""
    result = Result("mosquitto")
    work = Path(tempfile.mkdtemp(prefix="clasp-edge-peers-"))
    shutil.copytree(checkout("mosquitto") / "test", work / "test")
    program = work / "src" / "mosquitto"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "as_mosquitto.py"} "$@"\n')
    program.chmod(0o755)
    with (work / "test/mosq_test.py").open("a") as common:
        common.write(ANSWERS)
    common_text = (work / "test/mosq_test.py").read_text()
    (work / "test/mosq_test.py").write_text(common_text.replace("range(0, 20)", "range(0, 400)", 1))  # until it listens
    # Which scripts there are, and how many ports each takes.
    listed = re.findall(r"\((\d), '(?:\./)?([^']+\.py)'\)", (work / "test/broker/test.py").read_text())

    def run(numbered: tuple[int, tuple[str, str]]) -> tuple[str, str]:
        number, (ports, script) = numbered
        note = work / f"{script}.note"
        first = 21_000 + 5 * number
        try:
            done = subprocess.run(
                [sys.executable, script, *(str(first + one) for one in range(int(ports)))],
                cwd=work / "test/broker", env={**os.environ, "AS_MOSQUITTO_NOTE": str(note)},
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            verdict = "passed" if done.returncode == 0 else "failed"
            (work / f"{script}.log").write_text(done.stdout + done.stderr)
        except subprocess.TimeoutExpired:
            verdict = "failed"
        return script, "skipped" if note.exists() else verdict

    with ThreadPoolExecutor(2) as pool:
        for script, verdict in pool.map(run, enumerate(listed)):
            getattr(result, verdict).append(script)
    if result.new:
        print(f"what they said: {work}")
    else:
        shutil.rmtree(work)
    return result


SUITES = {
    "paho3": lambda: paho("client_test", ""),
    "paho5": lambda: paho("client_test5", "client_test5/"),
    "golang": golang,
    "mosquitto": mosquitto,
}


def main() -> int:
    """Run the suites; 1 where a test failed that is not known to."""
    parser = argparse.ArgumentParser(prog="make peers", description=__doc__)
    parser.add_argument("--only", choices=SUITES, action="append", help="one suite; repeats")
    options = parser.parse_args()
    status = 0
    for name in options.only or SUITES:
        try:
            result = SUITES[name]()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: could not be fetched or run: {error}")
            continue
        if result.missing:
            print(f"{name}: did not run: {result.missing}")
            status = 1
            continue
        ran = len(result.passed) + len(result.failed)
        print(f"{result.suite}: {len(result.passed)} of {ran} passed, {len(result.skipped)} do not apply", flush=True)
        for test in result.failed:
            print(f"  {test}: {KNOWN.get(result.suite, {}).get(test, 'FAILED')}")
        status |= bool(result.new)
    return status


if __name__ == "__main__":
    sys.exit(main())
