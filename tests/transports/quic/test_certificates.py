"""Whose certificate a QUIC listener shows, chain and all, and how a renewed one is taken over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.certificates import Authority
from support.daemon import Daemon
from support.live import eventually
from support.quic_client import Closed, QuicClient

from clasp_edge import wire


def test_a_renewed_certificate_is_shown_after_sighup_and_links_stay(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, second = authority.issue("first"), authority.issue("second")
    certificate, key = tmp_path / "current.pem", tmp_path / "current.key"

    def take(pair: tuple[Path, Path]) -> None:
        for source, target in zip(pair, (certificate, key), strict=True):
            new = target.with_suffix(".new")
            shutil.copy(source, new)
            new.replace(target)

    take(first)
    sets = {"quic.listen": "127.0.0.1:0", "tls.certificate": str(certificate), "tls.key": str(key)}
    with Daemon(sets=sets) as daemon, QuicClient(daemon.quic_address, first[0]) as before:
        before.hello("before")
        take(second)
        daemon.hangup()

        def shows_the_second() -> bool:
            try:
                with QuicClient(daemon.quic_address, second[0]) as after:
                    after.hello("after")
            except Closed:
                return False
            return True

        eventually(shows_the_second, 30.0)
        with pytest.raises(Closed), QuicClient(daemon.quic_address, first[0]):
            pass
        before.send(wire.Ping())
        before.until(wire.Pong)
