"""Claiming a box: who will be locked out is told first; tokens are asked for from then on, over restarts too."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.client import Closed, WsClient
from support.daemon import Daemon
from support.live import eventually
from support.mqtt_client import Broker
from support.mqtt_packets import V5

from clasp_edge import wire
from clasp_edge.security.claim_file import make_claim, read_claim
from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.security.token_file import TokenFile


def command(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clasp_edge", "claim", *words, "--set", f"data_dir={daemon.data_dir}"]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def hello(daemon: Daemon, token: str | None = None, name: str = "console") -> tuple[WsClient, wire.Message]:
    client = WsClient(daemon.ws_url)
    client.send(wire.Hello(1, name, (), token=token))
    return client, client.recv()


def drain(client: WsClient) -> None:
    """Read until the router closes."""
    with suppress(Closed):
        while True:
            client.recv()
    client.close()


def tokens_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^(admin|devices) +(cpsk_[0-9a-f]{32})$", done.stdout, re.MULTILINE))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True) as running:
        yield running


def test_who_will_be_locked_out_is_told_by_name_and_nothing_is_changed(daemon: Daemon) -> None:
    client, _ = hello(daemon, name="front desk")
    mqtt = Broker(daemon.mqtt_address)
    mqtt.client(V5, "zigbee2mqtt")
    told = command(daemon, "--report")
    assert told.returncode == 0
    assert re.search(r"clasp +front desk +127\.0\.0\.1:", told.stdout)
    assert re.search(r"mqtt +zigbee2mqtt +127\.0\.0\.1:", told.stdout)
    assert "--devices" in told.stdout
    with_network = command(daemon, "--report", "--devices", "127.0.0.0/8")
    assert "zigbee2mqtt" not in with_network.stdout
    assert "front desk" in with_network.stdout
    # Without a terminal nobody has said yes.
    assert command(daemon).returncode == 1
    assert command(daemon, "--devices", "nonsense", "--report").returncode == 1
    client.send(wire.Set("/still/open", 1))
    client.send(wire.Get("/still/open"))
    eventually(lambda: isinstance(client.recv(), wire.Snapshot))
    assert not (daemon.data_dir / "claim.toml").exists()
    client.close()
    mqtt.leave()


def test_a_claimed_box_asks_for_tokens_from_then_on(daemon: Daemon) -> None:
    client, _ = hello(daemon)
    mqtt = Broker(daemon.mqtt_address)
    lamp, stranger = mqtt.client(V5, "lamp"), mqtt.client(V5, "stranger")
    tokens = tokens_of(command(daemon, "--yes"))
    drain(client)
    lamp.expect_closed(0x87)
    stranger.expect_closed(0x87)
    for _ in range(2):
        refused, said = hello(daemon)
        assert isinstance(said, wire.Error)
        assert said.code == 300
        refused.close()
        admin, said = hello(daemon, tokens["admin"])
        assert isinstance(said, wire.Welcome)
        admin.close()
        mqtt.open(V5).connect("stranger", expect=0x87)
        device = mqtt.client(V5, "lamp", username="lamp", password=tokens["devices"])
        assert device.subscribe("a/#").codes == [0]
        mqtt.leave()
        # The file of the configuration still says "open": the claim outlives a restart and a reload.
        daemon.restart()
    daemon.hangup()
    refused, said = hello(daemon)
    assert isinstance(said, wire.Error)
    refused.close()
    again = command(daemon, "--yes")
    assert again.returncode == 1
    assert "claimed already" in again.stderr
    assert tokens["admin"] not in daemon.stderr


def test_devices_of_a_network_go_on(daemon: Daemon) -> None:
    mqtt = Broker(daemon.mqtt_address)
    lamp = mqtt.client(V5, "lamp")
    lamp.subscribe("lamp/#")
    tokens_of(command(daemon, "--yes", "--devices", "127.0.0.0/8"))
    # The same connection and subscription.
    lamp.publish("other", b"1", qos=1)
    mqtt.client(V5, "switch").publish("lamp/on", b"1", qos=1)
    assert lamp.receive(b"1").topic == "lamp/on"
    refused, said = hello(daemon)
    assert isinstance(said, wire.Error)
    refused.close()
    mqtt.leave()


def test_an_unreadable_claim_opens_no_door(daemon: Daemon) -> None:
    tokens = tokens_of(command(daemon, "--yes"))
    daemon.stop()
    (daemon.data_dir / "claim.toml").write_text("[[cl")
    daemon.start()
    refused, said = hello(daemon)
    assert isinstance(said, wire.Error)
    refused.close()
    admin, said = hello(daemon, tokens["admin"])
    assert isinstance(said, wire.Welcome)
    admin.close()
    assert "claim.toml is damaged" in daemon.stderr


def test_two_at_once_make_one_claim(tmp_path: Path) -> None:
    done: list[str] = []
    failed: list[str] = []

    def claim(name: str) -> None:
        try:
            done.append(make_claim(tmp_path, name, [], ["write:/mqtt/**"])[1])
        except KeptFileError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=claim, args=(f"user {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert len(failed) == 7
    assert all("claimed already" in text and "nothing was changed" in text for text in failed)
    found = read_claim(tmp_path)
    assert found is not None
    assert [token.name for token in TokenFile(tmp_path).read()] == ["admin", "devices"]


def test_an_open_router_says_so() -> None:
    with Daemon() as running:
        assert "open: everybody may do everything" in running.stdout
        assert "clasp-edge claim" in running.stdout
        assert "the router is open" not in running.stderr  # nobody else reaches it
    with Daemon(sets={"websocket.listen": "0.0.0.0:0"}) as running:
        assert "the router is open: everybody on the network may do everything" in running.stderr
