"""Whatever a peer sends, it gets a clear answer and nobody else notices (router.md 1.3, 12; wire.md 9.3)."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

import pytest
from support.client import Client, Closed
from support.live import Crowd, Witness, get, of_type, put, subscribe
from support.wire_vectors import Vector, invalid_vectors, valid_vectors

from clasp_edge import wire
from clasp_edge.wire import SignalType

Join = Callable[..., Client]

FRAME_FAULTS = {"truncated-header", "bad-magic", "length-mismatch", "empty-payload"}


@pytest.fixture(params=["ws", "tcp"])
def join(request: pytest.FixtureRequest, clients: Crowd) -> Join:
    return clients.ws if request.param == "ws" else clients.tcp


@pytest.fixture
def witness(clients: Crowd) -> Iterator[Witness]:
    bystander = Witness(clients)
    yield bystander
    bystander.assert_undisturbed()


def nested_arrays(depth: int) -> bytes:
    """SET of an array in an array in an array …, as deep as a frame can hold."""
    return wire.encode_frame(b"\x21\x0a\x00\x02/n" + b"\x00\x01\x0a" * depth + b"\x00\x00")


# ---- every vector marked invalid ----


def test_invalid_vectors_after_hello(join: Join, witness: Witness) -> None:
    client = join()
    vectors = invalid_vectors()
    assert len(vectors) > 200
    for vector in vectors:
        client.send_raw(vector.frame)
        answers = client.sync()
        assert [type(answer) for answer in answers] == [wire.Error], vector.name
        (error,) = of_type(answers, wire.Error)
        kind = vector.entry["error"]
        if kind == "bad-utf8" and error.code == 200:
            continue  # found while the address was looked at
        assert error.code == (100 if kind in FRAME_FAULTS else 101), (vector.name, error)
        assert kind in error.message or "msgpack" in kind, (vector.name, error)


def test_invalid_vectors_before_hello(join: Join, witness: Witness) -> None:
    for vector in invalid_vectors():
        assert_closed_in_silence(join(greet=False), vector)


def assert_closed_in_silence(client: Client, vector: Vector) -> None:
    client.send_raw(vector.frame)
    with pytest.raises(Closed) as caught:
        client.recv()
    assert caught.value.code in (1002, None), vector.name
    client.close()


def test_valid_vectors_in_any_order_do_no_harm(join: Join, witness: Witness) -> None:
    vectors = [vector for vector in valid_vectors() if vector.entry["message"]["type"] != "BUNDLE"]
    random.Random(7).shuffle(vectors)
    client = join()
    for start in range(0, len(vectors), 50):
        for vector in vectors[start : start + 50]:
            client.send_raw(vector.frame)
        client.sync()
    for number in range(2**8):
        client.send(wire.Unsubscribe(number))
    client.close()


# ---- single monsters ----


@pytest.mark.parametrize("greeted", [False, True])
def test_21000_nested_arrays(join: Join, witness: Witness, greeted: bool) -> None:
    client = join(greet=greeted)
    client.send_raw(nested_arrays(21_000))
    if greeted:
        assert client.sync() == [wire.Error(101, "Message not understood: depth")]
        assert get(client, "/n") is None
    else:
        client.wait_closed()


def test_nesting_in_publishes_and_bundles(join: Join, witness: Witness) -> None:
    client = join()
    array = b"\x0a" + b"\x00\x01\x0a" * 20_000 + b"\x00\x00"
    client.send_raw(wire.encode_frame(b"\x20\x20\x00\x02/n\x01" + array))
    bundle = b"\x41"
    while len(bundle) < 60_000:
        bundle = b"\x30\x00\x00\x01" + struct.pack(">H", len(bundle)) + bundle
    client.send_raw(wire.encode_frame(bundle))
    assert [error.code for error in of_type(client.sync(), wire.Error)] == [101, 101]


def test_maps_and_arrays_that_promise_more_than_they_hold(join: Join, witness: Witness) -> None:
    client = join()
    for code in (0x0A, 0x0B):
        client.send_raw(wire.encode_frame(bytes((0x21, code)) + b"\x00\x02/n\xff\xff"))
    client.send_raw(wire.encode_frame(b"\x20\x40\x00\x02/n\x02\xff\xff"))
    client.send_raw(wire.encode_frame(b"\x30\x00\xff\xff"))
    client.send_raw(wire.encode_frame(b"\x03\x00\x00\xff\xff"))
    assert [error.code for error in of_type(client.sync(), wire.Error)] == [101] * 5


def test_subscribe_cut_anywhere(join: Join, witness: Witness) -> None:
    client = join()
    whole = wire.encode_payload(
        wire.Subscribe(1, "/cut/**", options=wire.SubscribeOptions(max_rate=1, epsilon=1.0, history=1, window=1))
    )
    for length in range(1, len(whole)):
        client.send_raw(wire.encode_frame(whole[:length]))
        assert client.sync() == [wire.Error(101, "Message not understood: truncated-payload")], length
    put(join(), "/cut/a", 1)
    assert client.sync() == []


@pytest.mark.parametrize("address", ["éa", "", "//x", "/" + "a" * 64_000], ids=["é", "empty", "double", "64 KB"])
@pytest.mark.parametrize("kind", ["SET", "PUBLISH", "GET", "SUBSCRIBE", "ANNOUNCE", "BUNDLE"])
def test_addresses_that_name_nothing(join: Join, witness: Witness, address: str, kind: str) -> None:
    client = join()
    message: wire.Message = {
        "SET": wire.Set(address, 1),
        "PUBLISH": wire.Publish(address, SignalType.EVENT),
        "GET": wire.Get(address),
        "SUBSCRIBE": wire.Subscribe(1, address),
        "ANNOUNCE": wire.Announce("x", [wire.Signal(address, SignalType.PARAM)]),
        "BUNDLE": wire.Bundle([wire.Set(address, 1)]),
    }[kind]
    client.send(message)
    (error,) = of_type(client.sync(), wire.Error)
    assert (error.code, error.address) == (202 if kind == "SUBSCRIBE" else 200, address[:256])


def test_a_set_of_64_kb(join: Join, witness: Witness, base: str) -> None:
    client = join()
    payload = bytes((0x21, 0x09)) + struct.pack(">H", len(base)) + base.encode()
    value = 65_535 - len(payload) - 2
    client.send_raw(wire.encode_frame(payload + struct.pack(">H", value) + b"x" * value))
    (error,) = of_type(client.sync(), wire.Error)
    assert (error.code, error.address) == (402, base)
    assert get(client, base) is None


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 100, 65_547])
def test_noise(join: Join, witness: Witness, size: int) -> None:
    noise = random.Random(size).randbytes(size)
    client = join()
    client.send_raw(noise)
    assert [type(answer) for answer in client.sync()] == [wire.Error]
    before_hello = join(greet=False)
    before_hello.send_raw(noise)
    before_hello.wait_closed()


def test_a_thousand_random_payloads_under_a_good_header(join: Join, witness: Witness) -> None:
    chance = random.Random(11)
    client = join()
    kinds = [kind for kind in wire.MessageType if kind not in (wire.MessageType.PING, wire.MessageType.HELLO)]
    for _ in range(10):
        for _ in range(100):
            payload = bytes((chance.choice(kinds),)) + chance.randbytes(chance.randrange(0, 60))
            client.send_raw(wire.encode_frame(payload))
        client.sync()


def test_a_bad_name_or_token_in_hello(join: Join, witness: Witness) -> None:
    client = join(greet=False)
    client.send_raw(wire.encode_frame(b"\x01\x01\xff\x00\x02\xff\xfe\x00\x00"))
    client.wait_closed()


def test_everything_else_works_after_all_that(join: Join, base: str) -> None:
    client = join()
    subscribe(client, f"{base}/**")
    client.send_raw(nested_arrays(100))
    client.send(wire.Set(f"{base}/a", 1))
    assert client.sync() == [
        wire.Error(101, "Message not understood: depth"),
        wire.Set(f"{base}/a", 1, revision=1),
        wire.Ack(f"{base}/a", 1),
    ]
