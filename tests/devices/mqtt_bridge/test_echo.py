"""Our own messages, come back from a broker without MQTT 5."""

from __future__ import annotations

from clasp_edge.devices.mqtt_bridge.echo import EXPECTED_FOR_S, MAX_TOPICS, EchoMemory, Seen


def test_each_message_comes_back_once() -> None:
    memory = EchoMemory()
    memory.sent("t", b"1", 0.0)
    assert memory.seen("t", b"1", 0.1) is Seen.OWN
    assert memory.seen("t", b"1", 0.2) is Seen.FOREIGN


def test_what_arrives_before_ours_is_overtaken() -> None:
    memory = EchoMemory()
    memory.sent("t", b"1", 0.0)
    assert memory.seen("t", b"9", 0.1) is Seen.OVERTAKEN
    assert memory.seen("u", b"9", 0.1) is Seen.FOREIGN
    assert memory.seen("t", b"1", 0.1) is Seen.OWN
    assert memory.seen("t", b"9", 0.1) is Seen.FOREIGN


def test_toggling_is_not_mistaken_for_an_echo() -> None:
    memory = EchoMemory()
    for payload in (b"on", b"off", b"on"):
        memory.sent("t", payload, 0.0)
    assert [memory.seen("t", payload, 0.1) for payload in (b"on", b"off", b"on")] == [Seen.OWN] * 3
    assert memory.seen("t", b"off", 0.1) is Seen.FOREIGN


def test_a_lost_echo_is_not_waited_for() -> None:
    memory = EchoMemory()
    memory.sent("t", b"1", 0.0)
    memory.sent("t", b"2", 0.0)
    assert memory.seen("t", b"2", 0.1) is Seen.OWN
    assert memory.seen("t", b"1", 0.1) is Seen.FOREIGN
    memory.sent("t", b"3", 1.0)
    assert memory.seen("t", b"9", 1.1 + EXPECTED_FOR_S) is Seen.FOREIGN


def test_the_memory_is_bounded_and_forgets_with_the_link() -> None:
    memory = EchoMemory()
    for number in range(MAX_TOPICS + 10):
        memory.sent(f"t/{number}", b"x", 0.0)
    assert memory.seen("t/0", b"x", 0.1) is Seen.FOREIGN
    assert memory.seen("t/100", b"x", 0.1) is Seen.OWN
    memory.forget()
    assert memory.seen("t/101", b"x", 0.1) is Seen.FOREIGN
