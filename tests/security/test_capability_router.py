"""Capability tokens at the door: made off line with the command, taken by a box that has the public key, revoked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.client import Closed, WsClient
from support.daemon import Daemon
from support.mqtt_client import Broker
from support.mqtt_packets import V5

from clasp_edge import wire


def command(*words: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clasp_edge", "token", "cap", *words, "--set", f"data_dir={data_dir}"]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def said(*words: str, data_dir: Path) -> str:
    done = command(*words, data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rental house's key, and that of one of its technicians."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("house", "technician", "stranger"):
        said("key", str(directory / name), data_dir=directory)
        assert (directory / name).stat().st_mode & 0o777 == 0o600
    return directory


def public(keys: Path, name: str) -> str:
    return said("key", str(keys / name), data_dir=keys)


def create(keys: Path, name: str, *scopes: str) -> str:
    words = [word for scope in scopes for word in ("--scope", scope)]
    return said("create", "--key", str(keys / name), "--expires", "3d", *words, data_dir=keys)


def delegate(keys: Path, token: str, name: str, scope: str) -> str:
    return said("delegate", token, "--key", str(keys / name), "--expires", "1d", "--scope", scope, data_dir=keys)


@pytest.fixture(scope="module")
def daemon(keys: Path) -> Iterator[Daemon]:
    config = f'[security]\nmode = "authenticated"\ntrust_anchors = ["{public(keys, "house")}"]\n'
    with Daemon(mqtt=True, config=config) as running:
        yield running


def hello(daemon: Daemon, token: str) -> tuple[WsClient, wire.Message]:
    client = WsClient(daemon.ws_url)
    client.send(wire.Hello(1, "show", (), token=token))
    return client, client.recv()


def closed(client: WsClient) -> bool:
    with suppress(Closed):
        while True:
            client.recv()
    client.close()
    return True


def refused(daemon: Daemon, token: str) -> str:
    client, answer = hello(daemon, token)
    client.close()
    assert isinstance(answer, wire.Error)
    return answer.message


def loads_the_library(daemon: Daemon) -> bool:
    return "_sodium" in Path(f"/proc/{daemon.pid}/maps").read_text()


def test_the_library_is_loaded_with_the_first_token_and_a_scope_holds(daemon: Daemon, keys: Path) -> None:
    refused(daemon, "cpsk_00000000000000000000000000000000")
    assert not loads_the_library(daemon)
    client, answer = hello(daemon, create(keys, "house", "write:/lights/**"))
    assert isinstance(answer, wire.Welcome)
    assert loads_the_library(daemon)
    client.send(wire.Set("/lights/1", 1))
    client.send(wire.Set("/sound/1", 1))
    found = client.recv()
    while not isinstance(found, wire.Error):
        found = client.recv()
    assert (found.code, found.address) == (301, "/sound/1")
    client.close()


def test_what_a_stranger_signs_opens_nothing(daemon: Daemon, keys: Path) -> None:
    assert "trust_anchors" in refused(daemon, create(keys, "stranger", "admin:/**"))
    assert "malformed" in refused(daemon, "cap_rubbish")
    token = create(keys, "house", "read:/**")
    assert "Invalid token" in refused(daemon, token[:-4] + "AAAA")


def test_a_delegation_is_taken_and_falls_with_its_ancestor(daemon: Daemon, keys: Path) -> None:
    root = create(keys, "house", "write:/mqtt/**")
    nonce = said("inspect", root, data_dir=keys).split("nonce")[1].strip()
    child = delegate(keys, root, "technician", "write:/mqtt/lamp/**")
    told = said("verify", child, "--anchor", public(keys, "house"), data_dir=keys)
    assert "write:/mqtt/lamp/**" in told
    mqtt = Broker(daemon.mqtt_address)
    lamp = mqtt.client(V5, "lamp", username="lamp", password=child)
    assert lamp.subscribe("lamp/#", "other/#").codes == [0, 0x87]
    desk, answer = hello(daemon, child)
    assert isinstance(answer, wire.Welcome)
    assert said("revoke", nonce, data_dir=daemon.data_dir) == f"revoked: {nonce}"
    lamp.expect_closed(0x87)
    assert closed(desk)
    assert "revoked" in refused(daemon, child)
    assert command("verify", root, "--anchor", public(keys, "house"), data_dir=daemon.data_dir).returncode == 1
    mqtt.leave()


def test_a_key_can_be_revoked_with_all_that_it_has_signed(daemon: Daemon, keys: Path) -> None:
    root = create(keys, "house", "read:/**")
    child = delegate(keys, root, "technician", "read:/a/**")
    desk, answer = hello(daemon, child)
    assert isinstance(answer, wire.Welcome)
    said("revoke", public(keys, "technician"), data_dir=daemon.data_dir)
    assert closed(desk)
    other, answer = hello(daemon, root)
    assert isinstance(answer, wire.Welcome)
    other.close()


def test_what_is_wrong_is_a_sentence(keys: Path) -> None:
    for words in (
        ("create", "--key", str(keys / "none"), "--expires", "1d", "--scope", "read:/**"),
        ("create", "--key", str(keys / "house"), "--expires", "soon", "--scope", "read:/**"),
        ("create", "--key", str(keys / "house"), "--expires", "1d", "--scope", "fly:/**"),
        ("verify", "cap_x", "--anchor", "nonsense"),
        ("verify", "cap_x"),
        ("inspect", "cap_x"),
        ("revoke", "no nonce at all"),
    ):
        done = command(*words, data_dir=keys)
        assert done.returncode == 1
        assert done.stderr.startswith("clasp-edge: ")
        assert "Traceback" not in done.stderr
