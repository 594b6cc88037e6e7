"""A server on aioquic that says back whatever comes on a stream: what QUIC in Python costs before any routing.

    python benchmarks/peers/aioquic_echo.py ADDRESS PORT CERTIFICATE.pem KEY.pem

Prints `ready` when it listens.
"""

from __future__ import annotations

import asyncio
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived


class Echo(QuicConnectionProtocol):
    """One connection."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
            self.transmit()


async def main() -> None:
    address, port, certificate, key = sys.argv[1:]
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["clasp/2"])
    configuration.load_cert_chain(certificate, key)
    await serve(address, int(port), configuration=configuration, create_protocol=Echo, retry=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
