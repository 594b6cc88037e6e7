"""What a person reads when the daemon has started: addresses that work, and no promise that cannot be kept."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest
from support.anybody import as_anybody
from support.client import TcpClient, WsClient
from support.daemon import Daemon

from clasp_edge.config.listen import Listen
from clasp_edge.daemon.greeting import own_ipv4, own_ipv6, reachable, storage_fault


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_the_printed_url_is_one_that_can_be_used(host: str) -> None:
    with Daemon(sets={"websocket.listen": f"{host}:0"}) as daemon:
        match = re.search(
            r'^  connect     JavaScript: new Clasp\("(.*)"\)   Python: Clasp\("(.*)"\)$', daemon.stdout, re.M
        )
        assert match is not None
        url = match[1]
        assert url == match[2]
        with WsClient(url).hello() as client:
            assert client.sync() == []
        at = ip_address(url.removeprefix("ws://").rpartition(":")[0].strip("[]"))
        assert not at.is_unspecified
        assert not at.is_loopback or own_ipv4() is own_ipv6() is None


def test_no_client_for_websocket_is_offered_where_only_tcp_is_served() -> None:
    with Daemon(tcp=True, sets={"websocket.listen": "off", "tcp.listen": "0.0.0.0:0"}) as daemon:
        assert "Clasp(" not in daemon.stdout
        match = re.search(r"^  connect     TCP: (\S+):(\d+), each frame after its length", daemon.stdout, re.M)
        assert match is not None
        with TcpClient((match[1], int(match[2]))).hello() as client:
            assert client.sync() == []


def test_an_address_that_was_chosen_is_left_alone() -> None:
    assert reachable("127.0.0.1:7330", Listen("127.0.0.1", 7330)) == "127.0.0.1:7330"
    assert reachable("[::1]:80", Listen("::1", 0)) == "[::1]:80"


def test_every_ipv6_address_is_not_an_ipv4_address() -> None:
    host, _, port = reachable("[::]:7330", Listen("::", 7330)).rpartition(":")
    address = ip_address(host.strip("[]"))
    assert (address.version, port) == (6, "7330")
    assert not address.is_unspecified


def test_a_data_directory_that_cannot_be_is_warned_of(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with Daemon(sets={"data_dir": blocked / "data"}) as daemon:
        assert f"  warning     nothing can be stored in {blocked}/data: {blocked} is not a directory\n" in daemon.stdout
        assert "data in" not in daemon.stdout


def test_a_data_directory_to_come_is_not_made_by_looking(tmp_path: Path) -> None:
    assert storage_fault(tmp_path) is None
    assert storage_fault(tmp_path / "a" / "b") is None
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert as_anybody(lambda: storage_fault(tmp_path)) == "it cannot be written"
    assert as_anybody(lambda: storage_fault(tmp_path / "a")) == f"it cannot be created in {tmp_path}"


def test_the_files_that_were_read_are_listed_and_those_that_were_not_are_named() -> None:
    daemon = Daemon(config='name = "stage"\n')
    folder = daemon.directory / "conf.d"
    folder.mkdir()
    (folder / "10-show.toml").write_text("[limits]\nmax_sessions = 50\n")
    (folder / "20-show.toml.bak").write_text("nonsense")
    with daemon:
        main = daemon.directory / "clasp-edge.toml"
        assert f"  config      {main}\n  config      {folder / '10-show.toml'}\n" in daemon.stdout
        assert f"{folder / '20-show.toml.bak'}: not read, its name does not end in .toml" in daemon.stderr
    with Daemon() as plain:
        assert "  config      none: every option has its default\n" in plain.stdout
