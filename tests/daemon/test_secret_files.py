"""Secrets in files of their own and systemd's credentials: tokens, what an uplink shows, a bridge's password."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.client import Closed, WsClient
from support.daemon import Daemon
from support.live import eventually

from clasp_edge import wire
from clasp_edge.config.load import ConfigError
from clasp_edge.config.model import Config
from clasp_edge.daemon import main, secret_files
from clasp_edge.daemon.cautions import cautions
from clasp_edge.daemon.reloads import Reloads
from clasp_edge.daemon.verify import load_verified

TOKEN = '[security]\nmode = "authenticated"\n[[security.token]]\ntoken_file = "{}"\nscopes = ["admin:/**"]\n'
UPLINK = '[uplink.hub]\nurl = "ws://127.0.0.1:1"\nowns = ["/a/**"]\ntoken_file = "{}"\n'
BRIDGE = (
    '[bridge.site]\nbrokers = ["mqtt://127.0.0.1:1"]\nusername = "u"\npassword_file = "{}"\n'
    '[[bridge.site.map]]\ntopic = "a/#"\naddress = "/a/**"\n'
)


def written(directory: Path, text: str | bytes) -> Path:
    path = directory / "secret"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def configured(directory: Path, text: str) -> Path:
    path = directory / "clasp-edge.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_each_secret_is_read_from_its_file(encoding: str, tmp_path: Path) -> None:
    """A mark of an editor's before it is no part of it."""
    text = "a-secret-of-sixteen-characters\r\nwhat follows is not read\n"
    secret = written(tmp_path, text.encode(encoding))
    config = load_verified(configured(tmp_path, "".join((TOKEN + UPLINK + BRIDGE).format(*[secret] * 3))))
    assert config.security.token[0].token == "a-secret-of-sixteen-characters"
    assert config.uplink["hub"].token == "a-secret-of-sixteen-characters"
    assert config.bridge["site"].password == "a-secret-of-sixteen-characters"
    assert "sixteen" not in repr(config)
    # The main file holds none, and may be read by everybody; the secret's may not.
    assert not [text for text in cautions(config, tmp_path / "clasp-edge.toml") if "everybody on this machine" in text]
    secret.chmod(0o644)
    assert f"{secret}: holds secrets" in "\n".join(cautions(config, tmp_path / "clasp-edge.toml"))


@pytest.mark.parametrize(
    ("found", "says"),
    [(None, "cannot be read"), (b"", "first line"), (b"\nx", "first line"), (b"x" * 5000, "4096"), (b"\xff", "UTF-8")],
)
@pytest.mark.parametrize("kind", [TOKEN, UPLINK, BRIDGE])
def test_what_is_wrong_is_a_sentence(kind: str, found: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "secret" if found is None else written(tmp_path, found)
    with pytest.raises(ConfigError, match=rf"_file: {path}.*{says}") as error:
        load_verified(configured(tmp_path, kind.format(path)))
    assert "xxxx" not in str(error.value)


@pytest.mark.parametrize("kind", [TOKEN, UPLINK, BRIDGE])
def test_what_is_no_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    configuration = configured(tmp_path, kind.format(fifo))
    line = [sys.executable, "-m", "clasp_edge", "check", str(configuration)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"{fifo} cannot be read: it is no regular file" in done.stdout
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match=rf"_file: {path} cannot be read"):
            load_verified(configured(tmp_path, kind.format(path)))


@pytest.mark.parametrize("name", ["/a\\u0000b", "a\\u0000b"])
@pytest.mark.parametrize("kind", [TOKEN, UPLINK, BRIDGE])
def test_a_name_that_no_file_has(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret_files.CREDENTIALS, str(tmp_path))
    with pytest.raises(ConfigError, match=r"a\\x00b' cannot be read"):
        load_verified(configured(tmp_path, kind.format(name)))


def test_the_end_of_a_reload_is_told_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Manager:
        def reloading(self) -> None:
            told.append("reloading")

        def reloaded(self) -> None:
            told.append("reloaded")

    def fail(*_: object) -> Config:
        raise RuntimeError("something that nobody thought of")

    process = main.Daemon(load_verified(configured(tmp_path, f'data_dir = "{tmp_path}"\n')), None, [])
    monkeypatch.setattr(process, "_service", Manager())
    monkeypatch.setattr(main, "load_verified", fail)

    async def reload() -> None:
        Reloads(asyncio.get_running_loop(), process._begin_reading, process._has_read, process._reload_over).at_once(
            "SIGHUP"
        )

    asyncio.run(reload())
    assert told == ["reloading", "reloaded"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TOKEN.format("/a") .replace("scopes", 'token = "x"\nscopes'), "a second time"),
        (TOKEN.format("/a").replace('token_file = "/a"\n', ""), "either token or token_file"),
        (UPLINK.format("/a") + 'token = "x"\n', "a second time"),
        (UPLINK.format("/a").replace("ws://127.0.0.1:1", "discover:"), "needs tls_pin"),
        (BRIDGE.format("/a").replace("username", "password = 'x'\nusername"), "a second time"),
        (BRIDGE.format("/a").replace('username = "u"\n', ""), "without a username"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        load_verified(configured(tmp_path, text))


def test_two_files_with_one_token(tmp_path: Path) -> None:
    secret = written(tmp_path, "a-secret-of-sixteen-characters")
    table = '[[security.token]]\ntoken = "a-secret-of-sixteen-characters"\nscopes = ["read:/**"]\n'
    with pytest.raises(ConfigError, match=r"the same token as security\.token\[0\]"):
        load_verified(configured(tmp_path, TOKEN.format(secret) + table))


def test_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = configured(tmp_path, TOKEN.format("secret"))
    monkeypatch.setattr(secret_files, "OF_THE_SERVICE", str(tmp_path / "nowhere"))
    monkeypatch.delenv(secret_files.CREDENTIALS, raising=False)
    with pytest.raises(ConfigError, match="LoadCredential=secret"):
        load_verified(path)
    written(tmp_path, "a-secret-of-sixteen-characters")
    monkeypatch.setenv(secret_files.CREDENTIALS, str(tmp_path))
    assert load_verified(path).security.token[0].token == "a-secret-of-sixteen-characters"


def test_a_token_that_was_changed_counts_after_a_reload(tmp_path: Path) -> None:
    secret = written(tmp_path, "the-first-secret-of-the-test\n")
    with Daemon(config=TOKEN.format(secret)) as daemon:
        first = WsClient(daemon.ws_url)
        first.send(wire.Hello(1, "first", (), token="the-first-secret-of-the-test"))
        assert isinstance(first.recv(), wire.Welcome)
        written(tmp_path, "the-second-secret-of-the-test\n")
        daemon.hangup()
        eventually(lambda: "reload: applied: security.token" in daemon.stderr, 25)
        errors = [message.code for message in errors_until_closed(first)]
        assert errors == [wire.ErrorCode.UNAUTHORIZED]
        with WsClient(daemon.ws_url) as second:
            second.send(wire.Hello(1, "second", (), token="the-second-secret-of-the-test"))
            assert isinstance(second.recv(), wire.Welcome)
        # A file that has gone changes nothing, and commands that need no secret go on.
        secret.unlink()
        daemon.hangup()
        eventually(lambda: "token_file" in daemon.stderr, 25)
        line = [sys.executable, "-m", "clasp_edge", "token", "list", "--config", daemon.directory / "clasp-edge.toml"]
        listed = subprocess.run(
            [*line, "--set", f"data_dir={daemon.data_dir}"], capture_output=True, timeout=60, check=False
        )
        assert listed.returncode == 0, listed.stderr


def errors_until_closed(client: WsClient) -> list[wire.Error]:
    """Those until the router closes."""
    found: list[wire.Error] = []
    try:
        while True:
            message = client.recv(timeout=20)
            if isinstance(message, wire.Error):
                found.append(message)
    except Closed:
        return found
