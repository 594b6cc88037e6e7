"""The bit by which two clasp-edges know each other changes nothing else of a WELCOME."""

from __future__ import annotations

import pytest
from support.wire_vectors import Vector, valid_vectors

from clasp_edge.wire import MessageType, decode
from clasp_edge.wire.extensions import is_edge, with_extensions

WELCOMES = [vector for vector in valid_vectors() if vector.payload[:1] == bytes((MessageType.WELCOME,))]


def test_there_are_vectors() -> None:
    assert WELCOMES


@pytest.mark.parametrize("vector", WELCOMES, ids=lambda vector: vector.name)
def test_only_the_bit_is_added(vector: Vector) -> None:
    if vector.frame[1] & 0x20:
        return  # with a timestamp: not what this router makes
    marked = with_extensions(vector.frame)
    assert is_edge(marked[4:])
    assert decode(marked)[1] == decode(vector.frame)[1]
    differing = [at for at, (one, other) in enumerate(zip(marked, vector.frame, strict=True)) if one != other]
    assert differing == ([] if is_edge(vector.payload) else [6])


@pytest.mark.parametrize("payload", [b"", b"\x02", b"\x02\x01", b"\x02\x01\xf8"])
def test_the_reference_is_no_kin(payload: bytes) -> None:
    assert not is_edge(payload)
