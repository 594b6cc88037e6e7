"""What a hub shows of the boxes below: what they say of themselves, bounded, of nobody else, and gone with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.federated import await_down, await_up, await_value, client, uplink, value
from support.live import eventually, get, subscribe

from clasp_edge.federation.shared.box_report import MAX_BOX_BYTES, box_frames, is_told, page_url, read_box
from clasp_edge.wire import Error, FederationOp, FederationSync, Get, Hello, Snapshot, Welcome, decode

BOX = "/clasp-edge/peers/edge-box1"
ID = {"federation.router_id": "edge-box1"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Daemon]:
    with Daemon() as running:
        yield running
        running.assert_healthy()


def stated(hub: Daemon, key: str) -> object:
    return value(hub, f"{BOX}/{key}")


def test_a_hub_shows_what_its_box_says_and_where_its_page_is(
    hub: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices = tmp_path / "problems"
    notices.write_text("The card is worn\n")
    monkeypatch.setenv("CLASP_EDGE_NOTICES", str(notices))
    with Daemon(config=uplink(hub.ws_url, owns=["/box1/**"]), sets=ID) as box:
        await_up(box)
        await_value(hub, f"{BOX}/board/problems", ["The card is worn"], 30.0)
        await_value(hub, f"{BOX}/uplinks/hub/state", "up", 30.0)
        host, port = box.ws_address
        assert stated(hub, "url") == f"http://{host}:{port}/"
        assert stated(hub, "state") == "up"
        assert stated(hub, "box/fault") == ""
        notices.write_text("")
        await_value(hub, f"{BOX}/board/problems", [], 30.0)
    await_value(hub, f"{BOX}/state", "down", 30.0)
    # Nobody knows any more how it is; that it was there is still said.
    assert stated(hub, "board/problems") is None
    assert stated(hub, "box/version") is None


def test_a_box_of_a_box_is_seen_by_name_and_state_only() -> None:
    with (
        Daemon() as hub,
        Daemon(config=uplink(hub.ws_url, owns=["/a/**"]), sets={"federation.router_id": "edge-a"}) as middle,
    ):
        box = Daemon(config=uplink(middle.ws_url, owns=["/a/b/**"]), sets={"federation.router_id": "edge-b"}).start()
        await_up(box)
        await_value(hub, "/clasp-edge/peers/edge-a/peers/edge-b/state", "up", 30.0)
        await_value(middle, "/clasp-edge/peers/edge-b/box/fault", "", 30.0)
        assert value(hub, "/clasp-edge/peers/edge-a/peers/edge-b/box/version") is None
        box.stop()
        await_value(hub, "/clasp-edge/peers/edge-a/peers/edge-b/state", "down", 30.0)


TOKENS = """
[security]
mode = "authenticated"
[[security.token]]
token = "box"
scopes = ["write:/box1/**", "read:/box1/**"]
[[security.token]]
token = "lamp"
scopes = ["read:/box1/**"]
[[security.token]]
token = "all"
scopes = ["admin:/**"]
"""


def test_only_who_may_read_there_sees_it() -> None:
    with (
        Daemon(config=TOKENS) as hub,
        Daemon(config=uplink(hub.ws_url, owns=["/box1/**"], token="box"), sets=ID) as box,
    ):
        await_up(box)
        with client(hub, token="all") as looking:
            eventually(lambda: get(looking, f"{BOX}/box/version") is not None, 30.0)
        for token in ("lamp", "box"):
            with client(hub, token=token) as stranger:
                told = subscribe(stranger, "/clasp-edge/**")
                assert not [each for each in told if isinstance(each, Snapshot) and each.params]
                stranger.send(Get(f"{BOX}/box/version"))
                assert isinstance(stranger.recv(), Error)


def introduced(hub: Daemon, router_id: str = "edge-box1") -> WsClient:
    """A router that speaks by hand."""
    peer = WsClient(hub.ws_url)
    peer.send(Hello(1, router_id, ("param", "federation")))
    peer.recv_type(Welcome)
    peer.send(FederationSync(FederationOp.PEER, (), {"versions": 1}, 7, router_id))
    while not isinstance(answer := peer.recv(), FederationSync):
        pass
    assert answer.revisions["boxes"] == 1
    return peer


def say(peer: WsClient, told: dict[str, object], whole: bool = False) -> None:
    peer.send(FederationSync(FederationOp.BOX, since_revision=1 if whole else None, origin=json.dumps(told)))


def test_what_a_box_may_not_say_is_left_out(hub: Daemon) -> None:
    with introduced(hub) as peer:
        say(peer, {
            "state": "hacked", "name": "x", "url": "javascript:alert(1)", "../x/state": "up", "board//x": 1,
            "watchdog/x": 1, "peers/other/uplinks/x": 1, "board/" + "y" * 200: 1, "board/deep": [[[[1]]]] * 3,
            "board/*": 1, "listen": ["ws://evil.example:80", "ws://0.0.0.0:0", 5], "board/last": "kept",
        }, whole=True)  # fmt: skip
        await_value(hub, f"{BOX}/board/last", "kept", 30.0)
        assert stated(hub, "state") == "up"
        assert stated(hub, "name") == "edge-box1"
        assert stated(hub, "url") == ""
        for key in ("watchdog/x", "peers/other/uplinks/x", "board/" + "y" * 200):
            assert stated(hub, key) is None, key
        say(peer, {"board/other": 1}, whole=True)
        await_value(hub, f"{BOX}/board/other", 1, 30.0)
        assert stated(hub, "board/last") is None
        # Nor does it write there as one writes elsewhere.
        with client(hub) as intruder:
            intruder.send(FederationSync(FederationOp.BOX, origin='{"board/other": 2}'))
            intruder.sync()
        assert stated(hub, "board/other") == 1
    await_value(hub, f"{BOX}/board/other", None, 30.0)


def test_what_a_box_says_is_bounded(hub: Daemon) -> None:
    with introduced(hub) as peer, client(hub) as other:
        for part in range(60):
            say(peer, {f"board/p{part}_{number}": "z" * 500 for number in range(30)})
        peer.sync()
        eventually(lambda: "says more of itself than" in hub.stderr, 30.0)
        held = sum(get(other, f"{BOX}/board/p{part}_{n}") is not None for part in range(60) for n in range(0, 30, 10))
        assert 0 < held * 10 * 1400 < 2 * MAX_BOX_BYTES
        say(peer, {"board/last": 1})
    with introduced(hub) as peer:
        peer.send(FederationSync(FederationOp.BOX, origin="[" * 5000))
        assert "no JSON object" in peer.wait_closed().reason


def test_where_the_page_of_a_box_is() -> None:
    assert page_url(["ws://0.0.0.0:7330"], "10.0.0.7:41000") == "http://10.0.0.7:7330/"
    assert page_url(["mqtt://0.0.0.0:1883", "wss://[::]:7443"], "[fd00::7]:41000") == "https://[fd00::7]:7443/"
    assert page_url(["ws://127.0.0.1:7330"], "10.0.0.7:41000") == ""
    assert page_url(["ws://127.0.0.1:7330"], "127.0.0.1:41000") == "http://127.0.0.1:7330/"
    assert page_url(["ws://192.168.7.2:7330"], "10.0.0.7:41000") == "http://192.168.7.2:7330/"
    assert page_url(["ws://8.8.8.8:7330"], "10.0.0.7:41000") == ""
    for wrong in (None, "x", [], ["ws://0.0.0.0:99999"], ["ws://x'><script>:1"], [{}]):
        assert page_url(wrong, "10.0.0.7:41000") == ""
    assert page_url(["ws://0.0.0.0:7330"], "fe80::1%eth0:41000") == ""


def test_a_report_comes_in_parts_and_is_read_again() -> None:
    told = {f"board/{number}": "x" * 900 for number in range(100)} | {"board/long": "y" * 20_000, "board/b": b"\x00"}
    frames = box_frames(told, whole=True)
    assert len(frames) > 2
    found: dict[str, object] = {}
    for place, frame in enumerate(frames):
        message = decode(frame)[1]
        assert isinstance(message, FederationSync)
        whole, part = read_box(message)
        assert whole is (place == 0)
        found |= part
    assert found.keys() == told.keys() - {"board/long"}
    assert is_told("uplinks/foh/state")
    assert not is_told("peers/x/uplinks/y")


def test_a_link_that_comes_back_tells_everything_again(hub: Daemon) -> None:
    with Daemon(config=uplink(hub.ws_url, owns=["/box1/**"]), sets=ID) as box:
        await_up(box)
        await_value(hub, f"{BOX}/box/fault", "", 30.0)
        with client(hub) as operator:
            operator.sync()
        hub.stop()
        await_down(box)
        hub.start()
        await_up(box)
        await_value(hub, f"{BOX}/box/fault", "", 30.0)


def test_a_box_whose_id_is_shown_like_another_one_cannot_speak_for_it(hub: Daemon) -> None:
    shown = "/clasp-edge/peers/edge_box9/board/"
    with introduced(hub, "edge box9") as early, introduced(hub, "edge:box9") as alike:
        say(early, {"board/first": 1}, whole=True)
        await_value(hub, f"{shown}first", 1, 30.0)
        say(alike, {"board/first": 2, "board/second": 2}, whole=True)
        alike.sync()
        assert value(hub, f"{shown}first") == 1
        assert value(hub, f"{shown}second") is None
        with introduced(hub, "edge_box9") as itself:
            say(itself, {"board/problems": []}, whole=True)
            await_value(hub, f"{shown}problems", [], 30.0)
            assert value(hub, f"{shown}first") is None
            say(early, {"board/problems": ["stolen"]}, whole=True)
            early.sync()
            assert value(hub, f"{shown}problems") == []
        early.close()
    await_value(hub, f"{shown}problems", None, 30.0)
