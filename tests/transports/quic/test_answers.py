"""When a client is one that has answers sent for their own sake, and when it only has bad luck."""

from __future__ import annotations

from clasp_edge.transports.quic.answers import MOST_BESIDE_BYTES, MOST_UNASKED_BYTES, Answers

HANDED = 32_768
DATAGRAM = 1200


def test_answers_that_nobody_acknowledges() -> None:
    answers = Answers()
    assert not answers.too_many(DATAGRAM, HANDED + MOST_BESIDE_BYTES, HANDED)
    assert answers.too_many(DATAGRAM, HANDED + MOST_BESIDE_BYTES + 1, HANDED)


def test_answers_that_are_acknowledged_and_asked_for_without_end() -> None:
    """Measured: 133 questions in a datagram have 4,500 bytes sent."""
    answers = Answers()
    sent = 0
    while not answers.too_many(4500, 0, HANDED):
        answers.came(DATAGRAM)
        sent += 4500
        assert sent < 4 * MOST_UNASKED_BYTES


def test_small_messages_through_a_network_that_loses_half_of_them() -> None:
    answers = Answers()
    for _ in range(100_000):
        answers.written(28)
        assert not answers.too_many(2 * (28 + 40), HANDED, HANDED)
        answers.came(60)


def test_a_client_that_only_sends_is_acknowledged() -> None:
    answers = Answers()
    for _ in range(100_000):
        answers.came(2 * DATAGRAM)
        assert not answers.too_many(300, 0, HANDED)  # with many ranges


def test_a_client_that_only_listens_and_is_told_little() -> None:
    answers = Answers()
    for _ in range(100_000):
        answers.written(28)
        answers.came(45)
        assert not answers.too_many(28 + 40, 100, HANDED)
        assert not answers.too_many(40, 100, HANDED)  # is it there?
