"""TLS of an uplink: always verified, private authorities, client certificates; and where OpenSSL stays out."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from support.certificates import Authority
from support.dialing import dialing, raw_server, run

from clasp_edge.federation.upstream.tls import TlsOptions
from clasp_edge.wire import Ping, encode

PING = encode(Ping())


@asynccontextmanager
async def tls_server(
    certificate: tuple[Path, Path], *, clients: Path | None = None, **options: Any
) -> AsyncIterator[str]:
    """A WebSocket server with TLS that greets; its URL. `clients`: the authority whose certificates it asks for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED

    async def greet(connection: websockets.ServerConnection) -> None:
        async for _ in connection:
            await connection.send(PING)

    async with websockets.serve(
        greet, "127.0.0.1", 0, ssl=context, subprotocols=[websockets.Subprotocol("clasp")], **options
    ) as server:
        (sock,) = server.sockets
        yield f"wss://127.0.0.1:{sock.getsockname()[1]}/clasp"


def test_a_private_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def main() -> None:
        async with (
            tls_server(authority.issue("hub")) as url,
            dialing(url, tls=TlsOptions(ca=str(authority.certificate)), dead_after_s=0.6) as got,
        ):
            link = await got.up()
            big = [b"\x53\x01\xff\xff" + bytes(65_535)] * 20
            assert link.send(big)
            await got.until(lambda: len(got.frames) == 21)
            await asyncio.sleep(0.8)
            assert link.rtt_s is not None
            assert got.closes == []

    run(main())


@pytest.mark.parametrize("authority", ["none", "other", "name"])
def test_a_certificate_that_proves_nothing(tmp_path: Path, authority: str) -> None:
    ours, other = Authority(tmp_path), Authority(tmp_path, "other authority")

    async def main() -> None:
        address = "127.0.0.2" if authority == "name" else "127.0.0.1"
        options = {"none": TlsOptions(), "other": TlsOptions(ca=str(other.certificate))}
        async with (
            tls_server(ours.issue("hub", address)) as url,
            dialing(url, tls=options.get(authority, TlsOptions(ca=str(ours.certificate)))) as got,
        ):
            reason = await got.closed()
            assert reason.startswith(f"{url}: TLS: ")
            expected = "IP address mismatch" if authority == "name" else "certificate"
            assert expected in reason
            assert got.links == []

    run(main())


def test_the_name_in_the_certificate_may_be_another(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def main() -> None:
        async with tls_server(authority.issue("hub", "127.0.0.2")) as url:
            options = TlsOptions(ca=str(authority.certificate), server_name="127.0.0.2")
            async with dialing(url, tls=options) as got:
                await got.up()

    run(main())


def test_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("box")

    async def main() -> None:
        ca = str(authority.certificate)
        async with tls_server(authority.issue("hub"), clients=authority.certificate) as url:
            async with dialing(url, tls=TlsOptions(ca=ca, cert=str(cert), key=str(key))) as got:
                await got.up()
            async with dialing(url, tls=TlsOptions(ca=ca)) as got:
                # TLS 1.3 tells a client only after it has begun to speak, and then the loop does not pass it on.
                assert (await got.closed()).endswith("; if it wants a client certificate: there is no tls_cert")

    run(main())


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("box")
    other_cert, _ = authority.issue("other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")

    async def main() -> None:
        ca = str(authority.certificate)
        for options, sentence in (
            (TlsOptions(ca=str(tmp_path / "absent.pem")), f"{tmp_path}/absent.pem: no such file or directory"),
            (TlsOptions(ca=str(nonsense)), f"tls_ca {nonsense}: no certificate or crl found"),
            (TlsOptions(ca=ca, cert=str(nonsense)), f"tls_cert {nonsense}: "),
            (
                TlsOptions(ca=ca, cert=str(other_cert), key=str(key)),
                f"tls_cert {other_cert} with {key}: key values mismatch",
            ),
        ):
            async with tls_server(authority.issue("hub")) as url, dialing(url, tls=options) as got:
                assert (await got.closed()).startswith(f"{url}: {sentence}")

    assert cert.exists()
    run(main())


def test_a_renewed_authority_is_taken_up(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(old.certificate.read_bytes())

    async def main() -> None:
        async with tls_server(new.issue("hub")) as url, dialing(url, tls=TlsOptions(ca=str(ca))) as got:
            assert "certificate" in await got.closed()
            ca.write_bytes(new.certificate.read_bytes())
            assert got.dialer is not None
            got.dialer.retry_now()
            await got.up()

    run(main())


def test_a_plain_server_behind_a_tls_url_and_the_other_way_round(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def main() -> None:
        async with tls_server(authority.issue("hub")) as url, dialing(url.replace("wss", "ws")) as got:
            reason = await got.closed()
            assert "while waiting for the answer to the WebSocket upgrade" in reason or "no WebSocket" in reason

        async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with raw_server(no_tls) as port, dialing(f"wss://127.0.0.1:{port}") as got:
            assert "TLS: wrong version number" in await got.closed()

    run(main())


PROGRAM = """
import sys
from clasp_edge.daemon.no_tls import import_loop_without_tls
import_loop_without_tls()
sys.path.append(sys.argv[1])
import asyncio
import uvloop
from random import Random
from clasp_edge.clock import Clock
from clasp_edge.config.endpoint import parse_endpoint
from clasp_edge.federation.upstream.connector import Connector, DialOptions

class Receiver:
    def on_open(self, link): link.send([b"\\x53\\x01\\x00\\x01\\x41"])
    def on_frames(self, link, frames): pass
    def on_close(self, link, reason):
        print(reason, flush=True)
        done.set()

async def main():
    global done
    done = asyncio.Event()
    dialer = Connector(DialOptions("x", [parse_endpoint(sys.argv[2])]), Receiver(), asyncio.get_running_loop(), Clock(),
        Random())
    dialer.start()
    await done.wait()
    dialer.stop()

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
print("MODULES", " ".join(sys.modules))
"""


@pytest.mark.parametrize("scheme", ["ws", "tcp", "wss"])
def test_openssl_is_there_only_for_wss(scheme: str) -> None:
    async def main() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with server:
            url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, "tests", url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            out, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, err
        said, modules = out.decode().split("MODULES ")
        if scheme == "wss":
            assert "this process was started without any wss:// uplink; restart it to use TLS" in said
        else:
            assert not {"ssl", "_ssl", "_hashlib"}.intersection(modules.split())
            assert "internal error" not in said

    run(main())
