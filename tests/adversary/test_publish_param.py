"""A PUBLISH of signal param, with and without a value, to every kind of sink: it is passed on to whoever subscribes to
params, and stored nowhere (router.md 2.2). It once ended every router that had an uplink or a peer."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.federated import JOURNAL, await_up, box, client, uplink
from support.live import get, of_type, put, subscribe
from support.mqtt_client import MqttClient
from support.osc import Device

from clasp_edge import wire
from clasp_edge.wire import (
    Bundle,
    FederationOp,
    FederationSync,
    Publish,
    Replay,
    Set,
    SignalType,
    decode,
    encode,
    encode_frame,
)

VALUES: tuple[wire.Value, ...] = (None, True, 1, 2.5, "", "a longer text than that", b"\0", [1, 2], {"a": 1})
END = "the end"


def bare(address: str, flags: int = 0, tail: bytes = b"") -> bytes:
    """Without a value, 9 bytes and the address; `tail`: what the flags announce."""
    text = address.encode()
    return encode_frame(b"\x20" + bytes([flags]) + struct.pack(">H", len(text)) + text + b"\0" + tail)


def messages(address: str) -> list[bytes]:
    """Frames of one PUBLISH of signal param each, in every form that one can have."""
    return [
        bare(address),
        bare(address, flags=0x1F, tail=bytes(12)),
        *(encode(Publish(address, SignalType.PARAM, value=value)) for value in VALUES),
        encode(Publish(address, SignalType.PARAM, samples=(1.0, 2.0))),
        encode(Publish(address, SignalType.PARAM, value=1, id=7, timestamp=9, rate=3)),
        encode(Bundle((Publish(address, SignalType.PARAM), Publish(address, SignalType.PARAM, value=1)))),
    ]


def say_all(speaker: WsClient, address: str) -> None:
    for frame in messages(address):
        speaker.send_raw(frame)
    speaker.send(Publish(address, SignalType.EVENT, value=END))
    assert of_type(speaker.sync(), wire.Error) == []


def heard_until_end(listener: WsClient) -> list[wire.Message]:
    """What has come before the event that ends `say_all`."""
    heard: list[wire.Message] = []
    while True:
        message = listener.recv()
        if isinstance(message, Publish) and message.value == END:
            return heard
        heard.append(message)


def expected(address: str) -> list[wire.Message]:
    """What subscribers get of `say_all` before its end: the same, one by one; no SET has been made of any."""
    found: list[wire.Message] = []
    for frame in messages(address):
        message = decode(frame)[1]
        found += message.messages if isinstance(message, Bundle) else [message]
    return found


@pytest.fixture(scope="module")
def hub() -> Iterator[Daemon]:
    with Daemon(sets=JOURNAL) as running:
        yield running
        assert "Traceback" not in running.stderr


@pytest.fixture(scope="module")
def desk() -> Iterator[Device]:
    device = Device(("127.0.0.1", 9))
    yield device
    device.socket.close()


@pytest.fixture(scope="module")
def edge(hub: Daemon, desk: Device) -> Iterator[Daemon]:
    """A box with an uplink, a journal and everything that a device can be served by."""
    target = f'[[osc.target]]\nname = "desk"\nhost = "127.0.0.1"\nport = {desk.port}\npatterns = ["/osc/desk/**"]\n'
    policy = {"/a/log/**": "log", "/a/latest/**": "latest", "/a/drop/**": "drop"}
    link = uplink(hub.ws_url, owns=["/a/**", "/mqtt/**"], policy=policy)
    with box(link, extra=target, mqtt=True, sets={**JOURNAL, "osc.listen": "127.0.0.1:0"}) as running:
        await_up(running)
        yield running
        assert "Traceback" not in running.stderr


@pytest.mark.parametrize("policy", ["log", "latest", "drop", "as-by-default"])
def test_over_an_uplink(hub: Daemon, edge: Daemon, policy: str) -> None:
    address = f"/a/{policy}/x"
    with client(hub) as there, client(edge) as here:
        subscribe(there, f"/a/{policy}/**")
        say_all(here, address)
        assert heard_until_end(there) == expected(address)
        assert get(here, address) is get(there, address) is None


@pytest.mark.parametrize("policy", ["log", "latest", "drop", "as-by-default"])
def test_over_an_uplink_that_is_down(policy: str) -> None:
    address = f"/a/{policy}/x"
    link = uplink("ws://127.0.0.1:9", owns=["/a/**"], policy={f"/a/{policy}/**": policy} if "-" not in policy else {})
    for settings in (JOURNAL, {}):
        with box(link, sets=settings) as edge, client(edge) as here:
            say_all(here, address)
            assert get(here, address) is None


def test_to_a_router_that_dialled_in_and_to_a_leaf_of_the_reference(hub: Daemon) -> None:
    for name, hello in (("box", FederationOp.PEER), ("clasp-federation", None)):
        features = ("param", "event", "stream", "gesture", "timeline", "federation")
        with WsClient(hub.ws_url).hello(name, features=features) as peer, client(hub) as here:
            peer.sync()
            if hello is not None:
                peer.send(FederationSync(hello, origin=name, since_revision=1))
            peer.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=(f"/to/{name}/**",), origin=name))
            peer.recv_until(wire.Ack)
            say_all(here, f"/to/{name}/x")
            heard = [message for message in heard_until_end(peer) if not isinstance(message, FederationSync)]
            assert heard == expected(f"/to/{name}/x")


def test_nothing_of_it_is_kept(edge: Daemon) -> None:
    with client(edge) as here, client(edge) as listener:
        say_all(here, "/kept/x")
        put(here, "/kept/x", 5)
        for pattern in ("/kept/x", "/kept/**"):
            listener.send(Replay(pattern=pattern), qos=1)
            heard: list[wire.Message] = []
            while not isinstance(message := listener.recv(), wire.Ack):
                heard.append(message)
            assert [type(message) for message in heard] == [Publish, Set]
        history = subscribe(listener, "/kept/**", history=100)
        assert [message.value for message in of_type(history, Publish)] == [END]


def test_to_mqtt_clients(edge: Daemon) -> None:
    for version in (4, 5):
        with MqttClient(edge.mqtt_address, version) as device, client(edge) as here:
            device.connect(f"v{version}")
            device.subscribe("p/#", options=1 if version == 4 else 1 | 8)  # retain as published
            say_all(here, "/mqtt/p/x")
            heard = []
            while not heard or heard[-1].payload != END.encode():
                heard.append(device.receive())
            values = [m.value for m in expected("/mqtt/p/x") if isinstance(m, Publish) and m.value is not wire.ABSENT]
            assert len(heard) == len(values) + 1
            assert not any(message.retain for message in heard)


def test_to_osc_targets(edge: Daemon, desk: Device) -> None:
    with client(edge) as here:
        say_all(here, "/osc/desk/x")
        heard = []
        while not heard or heard[-1][1] != [END]:
            heard.append(desk.hear())
    assert len(heard) > len(VALUES)


def test_a_thinned_subscription_passes_it_and_keeps_what_was_set(edge: Daemon) -> None:
    """It stands for no state, so it may not take the place of a SET that waits for its turn."""
    with client(edge) as here, client(edge) as listener:
        subscribe(listener, "/thin/**", max_rate=2, epsilon=0.5)
        for value in (1, 2, 3):
            put(here, "/thin/x", value)
            here.send_raw(encode(Publish("/thin/x", SignalType.PARAM, value=value * 100)))
        values = []
        while 3 not in values:
            values.append(listener.recv_until(Set).value)
        assert values == [1, 3]
