"""The reference's own QUIC transport as a client of ours: what its router loses arrives here."""

from __future__ import annotations

import pytest
from support.daemon import Daemon
from support.quic_client import QuicClient
from support.rust_quic_client import ReferenceClient, why_not

from clasp_edge import wire


@pytest.fixture(autouse=True)
def needs_the_reference() -> None:
    if reason := why_not():
        pytest.skip(reason)


def test_what_the_reference_loses_arrives_here() -> None:
    with (
        Daemon(sets={"quic.listen": "127.0.0.1:0"}) as daemon,
        QuicClient(daemon.quic_address, daemon.data_dir / "tls" / "certificate.pem"),  # silent: blocks nobody
        ReferenceClient(daemon) as client,
    ):
        client.write(wire.encode(wire.Hello(1, "reference", ())))
        while not isinstance(client.recv(), wire.Snapshot):
            pass
        frames = [wire.encode(wire.Set(f"/ref/{number}", number), 1) for number in range(3)]
        client.write(b"".join(frames))
        assert client.acknowledged(3) == ["/ref/0", "/ref/1", "/ref/2"]
        for frame in frames:
            client.write(frame)
        assert client.acknowledged(3) == ["/ref/0", "/ref/1", "/ref/2"]
        for at in range(0, len(frames[0]), 5):
            client.write(frames[0][at : at + 5])
        assert client.acknowledged(1) == ["/ref/0"]
