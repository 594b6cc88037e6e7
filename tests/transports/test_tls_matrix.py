"""What the encrypted listeners agree to, as `openssl s_client` sees it: versions, ciphers, certificates."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Authority
from support.daemon import Daemon

LISTENERS = {f"{part}.tls_listen": "127.0.0.1:0" for part in ("websocket", "mqtt", "tcp")}
SCHEMES = ("wss", "mqtts", "tcps")
GOOD = frozenset(
    f"ECDHE-ECDSA-{name}" for name in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
)  # fmt: skip


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, tcp=True, sets=LISTENERS) as running:
        yield running


def asked(daemon: Daemon, scheme: str, *options: str, typed: str = "") -> str:
    """What s_client says about a connection; it sends `typed` when it has one."""
    line = ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.address_pair(scheme)[1]}", *options]
    done = subprocess.run(line, input=typed, capture_output=True, text=True, timeout=30, check=False, errors="replace")
    return done.stdout + done.stderr


def agreed(said: str) -> bool:
    """Whether a handshake came to its end."""
    return "Cipher is (NONE)" not in said and ("New, TLSv1.2, Cipher is" in said or "New, TLSv1.3, Cipher is" in said)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("version", ["tls1", "tls1_1", "tls1_2", "tls1_3"])
def test_versions(daemon: Daemon, scheme: str, version: str) -> None:
    # Level 0: the program itself must not be who refuses.
    said = asked(daemon, scheme, f"-{version}", "-cipher", "ALL:@SECLEVEL=0")
    assert agreed(said) is (version in ("tls1_2", "tls1_3")), said


def test_ciphers_of_tls_1_2_have_forward_secrecy_and_no_old_hash(daemon: Daemon) -> None:
    """All are offered; what is agreed to is left out the next time, until nothing is."""
    taken: list[str] = []
    while len(taken) < 40:
        offered = ":".join(["ALL", "COMPLEMENTOFALL", *(f"!{cipher}" for cipher in taken), "@SECLEVEL=0"])
        said = asked(daemon, "wss", "-tls1_2", "-cipher", offered)
        if not agreed(said):
            break
        taken.append(said.partition("Cipher is ")[2].split()[0])
    assert set(taken) >= GOOD
    assert set(taken[:3]) == GOOD  # and they come first
    for cipher in taken:
        assert cipher.startswith("ECDHE-"), cipher
        assert not cipher.endswith(("-SHA", "-MD5")), cipher
        assert not {"NULL", "RC4", "3DES", "DES", "EXP", "PSK"}.intersection(cipher.split("-")), cipher


@pytest.mark.parametrize("cipher", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_ciphers_of_tls_1_3(daemon: Daemon, cipher: str) -> None:
    assert f"Cipher is {cipher}" in asked(daemon, "mqtts", "-tls1_3", "-ciphersuites", cipher)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_is_compressed_renegotiated_or_resumed(daemon: Daemon, scheme: str) -> None:
    said = asked(daemon, scheme, "-tls1_2", typed="R\n")
    assert "Compression: NONE" in said
    assert "Secure Renegotiation IS supported" in said
    assert "no renegotiation" in said or "alert" in said, said
    assert "session ticket" not in asked(daemon, scheme, "-tls1_3").lower()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_certificate_of_its_own(daemon: Daemon, scheme: str) -> None:
    own = daemon.data_dir / "tls" / "certificate.pem"
    for name, right in (("localhost", True), ("elsewhere.example", False)):
        said = asked(daemon, scheme, "-CAfile", str(own), "-verify_hostname", name, "-verify_return_error")
        assert ("Verification: OK" in said) is right, said
        assert "Peer signing digest: SHA256" in said or not right, said
    shown = subprocess.run(
        ["openssl", "x509", "-in", own, "-noout", "-text"], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    for words in ("NIST CURVE: P-256", "CA:FALSE", "ecdsa-with-SHA256", "DNS:localhost", "IP Address:127.0.0.1"):
        assert words in shown


def test_a_chain_is_shown_whole(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    leaf, key = authority.issue("router")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(leaf.read_bytes() + authority.certificate.read_bytes())
    sets = LISTENERS | {"tls.certificate": str(chain), "tls.key": str(key)}
    with Daemon(mqtt=True, tcp=True, sets=sets) as daemon:
        for scheme in SCHEMES:
            said = asked(daemon, scheme, "-showcerts", "-CAfile", str(authority.certificate), "-verify_ip", "127.0.0.1")
            assert said.count("-----BEGIN CERTIFICATE-----") >= 2
            assert "Verification: OK" in said, said
