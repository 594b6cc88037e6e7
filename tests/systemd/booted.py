"""The package on a machine of its own, under a real systemd: installed, used, killed, upgraded, purged.

Run by `make deb-test`, which says where the package is (`$DEB`) and for which release (`$SUITE`); the tests are one
story and run in their order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.callers import Callers
from support.client import WsClient
from support.container import Container, make_root, why_not
from support.daemon import PROJECT_ROOT
from support.live import eventually, get, put, subscribe
from support.mqtt_client import MqttClient
from support.ports import free_port

from clasp_edge import wire

UNIT = "clasp-edge.service"
PATIENCE_S = 60.0


pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


class Box:
    """The machine, the ports the router has on it, and the package."""

    def __init__(self, container: Container, package: Path, work: Path) -> None:
        self.container = container
        self.package = package
        self.work = work
        self.ws, self.mqtt, self.osc = (("127.0.0.1", free_port()) for _ in range(3))
        self.run = container.run

    def install(self, package: Path) -> str:
        """Install a package and return what was said."""
        shutil.copy(package, self.container.root / "opt" / package.name)
        return self.run("dpkg", "--install", "--force-confold", f"/opt/{package.name}").stdout

    def configure(self, name: str, text: str) -> None:
        """Write a drop-in file of the configuration."""
        path = self.container.root / "etc/clasp-edge/conf.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def client(self, name: str = "test") -> WsClient:
        return WsClient(f"ws://{self.ws[0]}:{self.ws[1]}").hello(name)

    def value(self, address: str) -> object:
        with self.client() as client:
            found = get(client, address)
            return found.value if found is not None else None

    def shows(self, name: str) -> str:
        return self.container.property(UNIT, name)

    def log(self, *options: str) -> list[dict[str, object]]:
        said = self.run("journalctl", "--unit", UNIT, "--output=json", "--no-pager", *options).stdout
        return [json.loads(line) for line in said.splitlines()]

    def later_package(self) -> Path:
        """The same package with a higher version."""
        tree = self.work / "later"
        subprocess.run(["dpkg-deb", "--raw-extract", self.package, tree], check=True)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"^(Version: .*)$", r"\1+later", control.read_text(), flags=re.MULTILINE))
        out = self.work / "later.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return out


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    suite, package = os.environ["SUITE"], Path(os.environ["DEB"])
    archive = PROJECT_ROOT / "build/deb" / f"root-{suite}.tar"
    make_root(suite, os.environ.get("MIRROR", "http://deb.debian.org/debian"), archive)
    work = tmp_path_factory.mktemp("box")
    root = work / "root"
    root.mkdir()
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", root], check=True)
    with Container(root) as container:
        yield Box(container, package, work)
    shutil.rmtree(root, ignore_errors=True)


def test_installing_it_starts_it(box: Box) -> None:
    listens = {"websocket": box.ws, "mqtt": box.mqtt, "osc": box.osc}
    box.configure("50-test.toml", "".join(f'{key}.listen = "{at[0]}:{at[1]}"\n' for key, at in listens.items()))
    box.install(box.package)
    eventually(lambda: box.shows("ActiveState") == "active", PATIENCE_S)
    assert box.shows("UnitFileState") == "enabled"
    assert box.shows("StatusText") == "0 sessions"
    assert box.shows("User") == "clasp-edge"
    listed = box.run("stat", "--format=%A %U %G", "/etc/clasp-edge/clasp-edge.toml", "/var/lib/clasp-edge").stdout
    assert listed.splitlines() == ["-rw-r----- root clasp-edge", "drwx------ clasp-edge clasp-edge"]
    assert box.run("dpkg", "--verify", "clasp-edge").stdout == ""


def test_the_running_service_is_in_its_sandbox(box: Box) -> None:
    said = box.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    exposure = float(re.search(r"exposure level for .*: ([\d.]+)", said)[1])  # type: ignore[index]
    print(f"exposure {exposure}")
    assert exposure <= 1.5


def test_everything_works_in_the_sandbox(box: Box) -> None:
    from support.osc import Device

    with box.client() as client:
        subscribe(client, "/**")
        with MqttClient(box.mqtt) as device:
            device.connect()
            device.publish("stage/fader", b"7", retain=True)
            assert client.recv_type(wire.Set).address == "/mqtt/stage/fader"
        with Device(box.osc) as device:
            device.say("/fader/1", 0.5)
            assert client.recv_type(wire.Set).address == "/osc/fader/1"
        assert box.value("/clasp-edge/journal/state") == "ok"
    status = json.loads(box.run("clasp-edge", "status", "--json").stdout)
    assert status
    memory = (box.container.run("cat", f"/proc/{box.shows('MainPID')}/status")).stdout
    print(re.search(r"VmRSS:.*", memory)[0])  # type: ignore[index]


def test_the_log_has_fields(box: Box) -> None:
    with box.client("front desk"):
        pass
    eventually(lambda: box.log("CLASP_CLIENT=front desk"))
    (record, *_) = box.log("CLASP_CLIENT=front desk")
    assert record["LOGGER"] == "clasp_edge.router"
    assert str(record["CLASP_REMOTE"]).startswith("127.0.0.1:")
    assert record["SYSLOG_IDENTIFIER"] == "clasp-edge"


def test_a_reload_takes_over_what_is_good_and_refuses_what_is_not(box: Box) -> None:
    box.configure("60-name.toml", 'name = "stage left"')
    box.run("systemctl", "reload", UNIT)
    with box.client() as client:
        assert client.welcome.name == "stage left"
    box.configure("70-bad.toml", "nonsense = 1")
    assert box.run("systemctl", "reload", UNIT, check=False).returncode != 0
    (box.container.root / "etc/clasp-edge/conf.d/70-bad.toml").unlink()
    assert box.shows("ActiveState") == "active"
    assert any("conf.d/70-bad.toml: nonsense: unknown key" in str(record["MESSAGE"]) for record in box.log())


@pytest.mark.parametrize("how", ["restart", "SIGKILL", "SIGSTOP", "upgrade"])
def test_it_comes_back_with_its_params_and_refuses_nobody(box: Box, how: str) -> None:
    with box.client() as client:
        put(client, "/kept", how)
    time.sleep(0.5)  # the journal's interval, several times
    before = box.shows("MainPID")
    callers = Callers(box.ws, box.mqtt, pause_s=0.1)
    started_s = time.monotonic()
    if how == "restart":
        box.run("systemctl", "restart", UNIT)
    elif how == "upgrade":
        box.install(box.later_package())
    else:
        box.run("systemctl", "kill", "--kill-whom=main", "--signal", how, UNIT)
    eventually(lambda: box.shows("MainPID") not in ("0", before) and box.shows("ActiveState") == "active", PATIENCE_S)
    print(f"{how}: back after {time.monotonic() - started_s:.1f} s")
    callers.stop()
    assert callers.connected
    assert callers.refused == 0
    assert box.value("/kept") == how
    if how == "SIGSTOP":
        said = "\n".join(str(record["MESSAGE"]) for record in box.log())
        assert "Fatal Python error: Aborted" in said


def test_an_upgrade_keeps_what_was_configured(box: Box) -> None:
    assert box.run("dpkg-query", "--show", "--showformat=${Version}", "clasp-edge").stdout.endswith("+later")
    with box.client() as client:
        assert client.welcome.name == "stage left"
    assert box.shows("UnitFileState") == "enabled"


def test_socket_units_start_it(box: Box) -> None:
    box.run("systemctl", "stop", UNIT)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(box.ws, timeout=5)
    for name, (host, port) in (("ws", box.ws), ("mqtt", box.mqtt)):
        folder = box.container.root / f"etc/systemd/system/clasp-edge-{name}.socket.d"
        folder.mkdir(parents=True)
        (folder / "test.conf").write_text(f"[Socket]\nListenStream=\nListenStream={host}:{port}\n")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", "clasp-edge-ws.socket", "clasp-edge-mqtt.socket")
    assert box.shows("ActiveState") == "inactive"
    assert box.value("/kept") == "upgrade"
    callers = Callers(box.ws, box.mqtt)
    box.run("systemctl", "restart", UNIT)
    callers.stop()
    assert callers.refused == 0
    box.run("systemctl", "stop", "clasp-edge-ws.socket", "clasp-edge-mqtt.socket")


def test_purging_it_leaves_nothing(box: Box) -> None:
    box.run("dpkg", "--purge", "clasp-edge")
    for folder in ("/etc", "/var/lib", "/usr/lib", "/usr/bin", "/run"):
        assert box.run("test", "-e", f"{folder}/clasp-edge", check=False).returncode == 1, folder
    links = box.run("find", "/etc/systemd", "/var/lib/systemd", "-name", "clasp-edge.service*").stdout
    assert links == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(box.ws, timeout=5)
    # And can come again.
    box.install(box.package)
    eventually(lambda: box.shows("ActiveState") == "active", PATIENCE_S)
    box.run("dpkg", "--purge", "clasp-edge")
