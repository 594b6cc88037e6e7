"""Params: revisions, values kept exactly, and who may lock and unlock (router.md 3.2, 3.3)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from support.client import Client
from support.daemon import Daemon
from support.examples import examples
from support.live import Crowd, eventually, fresh, get, of_type, put, refused, subscribe
from support.wire_strategies import values

from clasp_edge import wire
from clasp_edge.wire import SignalType, Ttl, TtlMode


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, sets={"state.lock_grace_s": 1}) as running:
        yield running


# ---- revisions and values ----


def test_equal_values_count_as_writes(clients: Crowd, base: str) -> None:
    writer, reader = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**")
    for revision in (1, 2, 3):
        assert put(writer, f"{base}/a", 1).revision == revision
    assert [message.revision for message in of_type(reader.sync(), wire.Set)] == [1, 2, 3]


def test_an_expected_revision_lets_one_of_two_writers_win(clients: Crowd, base: str) -> None:
    one, two = clients.ws(), clients.tcp()
    put(one, f"{base}/a", 0)
    outcomes = []
    for client in (one, two):
        client.send(wire.Set(f"{base}/a", client.welcome.session, revision=1))
        outcomes.append(type(client.recv()))
    assert outcomes == [wire.Ack, wire.Error]
    assert get(two, f"{base}/a").value == one.welcome.session


def test_revision_zero_is_a_revision(clients: Crowd, base: str) -> None:
    client = clients.ws()
    put(client, f"{base}/a", 1)
    assert refused(client, f"{base}/a", 2, revision=0).message == "RevisionConflict { expected: 0, actual: 1 }"


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_any_value_comes_back_as_it_was(clients: Crowd, value: wire.Value) -> None:
    client, reader = clients.pair()
    address = f"{fresh()}/v"
    subscribe(reader, address)
    put(client, address, value)
    delivered = reader.recv_type(wire.Set)
    stored = get(client, address)
    assert stored is not None
    assert wire.encode_value(delivered.value) == wire.encode_value(stored.value) == wire.encode_value(value)


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (0x02, b"\xff"),
        (0x03, b"\x80\x00"),
        (0x04, struct.pack(">i", -5)),
        (0x06, struct.pack(">f", 21.5)),
        (0x06, b"\x7f\xc0\x00\x01"),
        (0x07, b"\x7f\xf0\x00\x00\x00\x00\x00\x01"),
        (0x07, struct.pack(">d", -0.0)),
        (0x07, struct.pack(">d", math.inf)),
        (0x01, b"\x07"),
        (0x0B, b"\x00\x02\x00\x01k\x00\x00\x01k\x01\x01"),
    ],
    ids=["i8", "i16", "i32", "f32", "f32 nan", "signalling nan", "-0", "inf", "true as 7", "key twice"],
)
def test_a_value_is_passed_on_bit_by_bit(clients: Crowd, base: str, code: int, data: bytes) -> None:
    sender, receiver = clients.ws(), clients.ws()
    address = f"{base}/v".encode()
    subscribe(receiver, f"{base}/**")
    payload = bytes((0x21, code)) + struct.pack(">H", len(address)) + address + data
    sender.send_raw(wire.encode_frame(payload))
    delivered = receiver.recv_raw()[4:]
    assert delivered == bytes((0x21, 0x80 | code)) + payload[2:] + struct.pack(">Q", 1)
    sender.sync()
    sender.send(wire.Get(f"{base}/v"))
    assert bytes((code,)) + data in sender.recv_raw()


def test_lock_unlock_and_ttl_are_passed_on_as_sent(clients: Crowd, base: str) -> None:
    sender, receiver = clients.ws(), clients.ws()
    subscribe(receiver, f"{base}/**")
    sent = wire.Set(f"{base}/a", 1, lock=True, ttl=Ttl(TtlMode.SLIDING, 60))
    sender.send(sent)
    assert receiver.recv() == wire.Set(f"{base}/a", 1, revision=1, lock=True, ttl=Ttl(TtlMode.SLIDING, 60))
    sender.send(wire.Set(f"{base}/a", 2, unlock=True))
    assert receiver.recv() == wire.Set(f"{base}/a", 2, revision=2, unlock=True)


def test_the_largest_param_that_fits_is_whole_everywhere_and_one_more_byte_is_refused(clients: Crowd) -> None:
    writer, reader = clients.ws(), clients.tcp()
    address = f"{fresh()}/big"
    subscribe(reader, address)
    room = 65535 - 61 - len(address)
    largest = b"\xaa" * (room - 2)  # a value of bytes has two bytes of length
    assert put(writer, address, largest).revision == 1
    assert reader.recv_type(wire.Set).value == largest
    assert get(reader, address).value == largest
    newcomer = clients.tcp(greet=False)
    newcomer.send(wire.Hello(1, "late"))
    newcomer.recv_type(wire.Welcome)
    assert largest in [param.value for message in newcomer.sync() for param in message.params]
    error = refused(writer, address, largest + b"\xaa")
    assert (error.code, error.address) == (402, address)
    assert get(reader, address).revision == 1


# ---- locks ----


def test_a_lock_does_not_concern_publishes(clients: Crowd, base: str) -> None:
    owner, other = clients.ws(), clients.ws()
    put(owner, f"{base}/a", 1, lock=True)
    subscribe(owner, f"{base}/**")
    other.send(wire.Publish(f"{base}/a", SignalType.EVENT, value=1))
    assert other.sync() == []
    assert len(owner.sync()) == 1


def test_only_the_holder_can_unlock(clients: Crowd, base: str) -> None:
    owner, other = clients.ws(), clients.ws()
    put(owner, f"{base}/a", 1, lock=True)
    error = refused(other, f"{base}/a", 2, unlock=True)
    assert error.code == 400
    assert error.message == f'LockHeld {{ holder: "{owner.welcome.session}" }}'
    assert refused(other, f"{base}/a", 2, lock=True).message.startswith("LockHeld")
    assert get(other, f"{base}/a").value == 1
    put(owner, f"{base}/a", 3, unlock=True)
    assert put(other, f"{base}/a", 4, lock=True).holder == other.welcome.session
    assert refused(owner, f"{base}/a", 5).message.startswith("LockHeld")


def test_lock_and_unlock_together_end_locked(clients: Crowd, base: str) -> None:
    owner, other = clients.ws(), clients.ws()
    put(owner, f"{base}/a", 1, lock=True, unlock=True)
    assert refused(other, f"{base}/a", 2).message.startswith("LockHeld")


def test_a_failed_expectation_takes_no_lock(clients: Crowd, base: str) -> None:
    one, two = clients.ws(), clients.ws()
    put(one, f"{base}/a", 1)
    refused(one, f"{base}/a", 2, lock=True, revision=7)
    assert put(two, f"{base}/a", 3).revision == 2


@pytest.mark.parametrize("how", ["close", "abort"])
def test_locks_of_who_left_are_released_after_the_grace(clients: Crowd, base: str, how: str) -> None:
    owner, other = clients.ws(), clients.ws()
    put(owner, f"{base}/a", 1, lock=True)
    put(owner, f"{base}/b", 1, lock=True)
    getattr(owner, how)()
    # The grace is a second: right after the disconnection the lock still holds.
    assert refused(other, f"{base}/a", 2).message.startswith("LockHeld")
    eventually(lambda: _accepted(other, f"{base}/a"))
    assert _accepted(other, f"{base}/b")


def _accepted(client: Client, address: str) -> bool:
    client.send(wire.Set(address, 2))
    return isinstance(client.recv(), wire.Ack)
