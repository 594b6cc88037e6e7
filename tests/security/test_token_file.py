"""Tokens made and withdrawn while the router runs: a file of hashes, commands, what takes effect when."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.client import Closed, WsClient
from support.daemon import Daemon

from clasp_edge import wire
from clasp_edge.security import kept_file
from clasp_edge.security.guesses import FREE_FAILURES, LONGEST_WAIT_S, MAX_HOSTS, Guesses
from clasp_edge.security.token_file import TokenFile, TokenFileError, digest_of, new_secret, seconds_of

AUTHENTICATED = {"security.mode": "authenticated"}


def command(data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clasp_edge", "token", *words, "--set", f"data_dir={data_dir}"]
    return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)


def login(daemon: Daemon, token: str) -> WsClient:
    client = WsClient(daemon.ws_url)
    client.send(wire.Hello(1, "client", (), token=token))
    message = client.recv()
    if isinstance(message, wire.Error):
        client.close()
        raise PermissionError(message.code, message.message)
    return client


def refusal_of(daemon: Daemon, token: str) -> int:
    """The code of the ERROR for a token."""
    with pytest.raises(PermissionError) as refused:
        login(daemon, token)
    return int(refused.value.args[0])


def closed_by(client: WsClient) -> bool:
    """Read until the router closes."""
    try:
        while True:
            client.recv()
    except Closed:
        return True


def test_a_secret_has_the_form_of_the_reference_and_is_not_kept(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    secret, entry = file.add("desk", ["write:/lights/**"], None)
    assert re.fullmatch(r"cpsk_[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", secret)
    assert secret not in file.path.read_text()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.read() == [entry]
    assert entry.digest == digest_of(secret)


def test_what_is_wrong_is_a_sentence_and_changes_nothing(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    file.add("desk", ["read:/**"], 60)
    before = file.path.read_bytes()
    for call in (
        lambda: file.add("desk", ["read:/**"], None),
        lambda: file.add("x", ["fly:/**"], None),
        lambda: file.add("x", [], None),
        lambda: file.add("../x", ["read:/**"], None),
        lambda: file.add('x"\n[[token]]', ["read:/**"], None),
        lambda: file.revoke("nobody"),
        lambda: file.rotate("nobody"),
        lambda: seconds_of("soon"),
        lambda: seconds_of("0d"),
    ):
        with pytest.raises(TokenFileError):
            call()
    assert file.path.read_bytes() == before


def test_what_is_known_of_the_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand tokens take seconds, and the router asks for each change that an administrator makes."""
    reads: list[Path] = []
    real = kept_file.read_tables
    monkeypatch.setattr(kept_file, "read_tables", lambda path, name: reads.append(path) or real(path, name))
    ours, theirs = TokenFile(tmp_path), tmp_path / "elsewhere"
    for number in range(20):
        ours.add(f"n{number}", ["read:/**"], None)
    assert len(TokenFile(tmp_path).read()) == 20
    assert len(reads) == 1  # before the first, when there was no file
    # What another process has written is seen, damage too; and nobody changes what is known by changing a list.
    ours.read().clear()
    theirs.write_bytes(ours.path.read_bytes().replace(b"n19", b"other"))
    theirs.replace(ours.path)
    assert [token.name for token in ours.read()][-1] == "other"
    ours.path.write_text("[[token")
    with pytest.raises(TokenFileError):
        ours.read()
    with pytest.raises(TokenFileError):
        ours.add("x", ["read:/**"], None)
    ours.path.unlink()
    assert ours.read() == []


@pytest.mark.parametrize(
    "text", ["[[token", "token = 1", "[[token]]\nname = 1", '[[token]]\nname = "a"\nsha256 = "00"', "\xff"]
)
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    file.path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TokenFileError, match=re.escape(str(file.path))):
        file.read()


def test_a_file_that_an_editor_has_saved_is_none_that_is_damaged(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    file.path.write_bytes("# as Notepad leaves it\r\n".encode("utf-8-sig"))
    assert list(file.read()) == []


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    lines = [
        [
            sys.executable,
            "-m",
            "clasp_edge",
            "token",
            "new",
            f"n{number}",
            "--scope",
            "read:/**",
            "--set",
            f"data_dir={tmp_path}",
        ]
        for number in range(6)
    ]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for line in lines]
    secrets = {process.communicate(timeout=60)[0].decode().strip() for process in running}
    assert len(secrets) == 6
    assert {entry.digest for entry in TokenFile(tmp_path).read()} == {digest_of(secret) for secret in secrets}


def test_a_token_opens_the_door_at_once_and_a_revoked_one_closes_it_at_once() -> None:
    stopped = Daemon(sets=AUTHENTICATED)
    assert command(stopped.data_dir, "new", "first", "--scope", "admin:/**").returncode == 0
    with stopped as daemon:
        made = command(daemon.data_dir, "new", "desk", "--scope", "write:/lights/**", "--scope", "read:/**")
        secret = made.stdout.strip()
        with login(daemon, secret) as client:
            client.send(wire.Set("/lights/1", 1))
            client.send(wire.Set("/other", 1))
            while not isinstance(message := client.recv(), wire.Error):
                pass
            assert message.code == wire.ErrorCode.FORBIDDEN
            listed = json.loads(command(daemon.data_dir, "list", "--json").stdout)[1:]
            assert [(row["name"], row["logins"], row["last_address"]) for row in listed] == [("desk", 1, "127.0.0.1")]
            assert command(daemon.data_dir, "test", secret, "write", "/lights/7").stdout == "allowed\n"
            assert command(daemon.data_dir, "test", secret, "admin", "/lights/7").returncode == 1
            assert command(daemon.data_dir, "revoke", "desk").returncode == 0
            assert closed_by(client)
        with pytest.raises(PermissionError, match="not found"):
            login(daemon, secret)
        rotated = command(daemon.data_dir, "rotate", "desk")
        assert rotated.returncode == 1
        assert "no token" in rotated.stderr


def test_the_file_is_used_without_a_router_too(tmp_path: Path) -> None:
    made = command(tmp_path, "new", "box", "--scope", "admin:/**", "--expires", "30d")
    assert made.returncode == 0
    assert "open to everybody" in made.stderr
    shown = command(tmp_path, "show", "box").stdout
    assert "admin:/**" in shown
    assert made.stdout.strip() not in shown
    assert command(tmp_path, "prune").stdout.startswith("0 ")
    new = command(tmp_path, "rotate", "box").stdout.strip()
    assert new != made.stdout.strip()
    assert command(tmp_path, "test", new, "admin", "/x").returncode == 0


def test_guessing_costs_the_guesser_and_not_who_is_known() -> None:
    stopped = Daemon(sets=AUTHENTICATED)
    secret = command(stopped.data_dir, "new", "desk", "--scope", "read:/**").stdout.strip()
    with stopped as daemon:
        login(daemon, secret).close()
        codes = [refusal_of(daemon, new_secret()) for _ in range(FREE_FAILURES + 5)]
        assert codes[:FREE_FAILURES] == [wire.ErrorCode.UNAUTHORIZED] * FREE_FAILURES
        assert codes[-1] == wire.ErrorCode.RATE_LIMITED
        login(daemon, secret).close()
        assert daemon.stderr.count("login refused") == 1


def test_waits_grow_end_and_are_bounded() -> None:
    guesses = Guesses()
    for _ in range(FREE_FAILURES):
        assert guesses.wait_s("a", b"x", 0) == 0
        guesses.failure("a", 0)
    waits = []
    now_s = 0.0
    for _ in range(10):
        waits.append(guesses.wait_s("a", b"x", now_s))
        now_s += waits[-1]
        assert guesses.wait_s("a", b"x", now_s) == 0
        guesses.failure("a", now_s)
    assert waits == sorted(waits)
    assert waits[0] == 1
    assert waits[-1] == LONGEST_WAIT_S
    assert guesses.wait_s("b", b"x", now_s) == 0
    guesses.success("a", b"known")
    assert guesses.wait_s("a", b"known", now_s) == 0
    assert guesses.wait_s("a", b"x", now_s + 1000) == 0
    for number in range(MAX_HOSTS + 10):
        guesses.failure(f"h{number}", now_s)
    assert guesses.wait_s("a", b"x", now_s) == 0
