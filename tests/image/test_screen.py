"""What a screen at the box shows in its first minute, and later."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from clasp_board import qr, screen
from clasp_board.places import Places
from clasp_board.problems import add_problem
from clasp_board.screen import FILE, HEIGHT, WIDTH, router_is_open, screen_text, write_screen
from hypothesis import given
from hypothesis import strategies as st
from support.daemon import Daemon
from support.needs import program
from support.page_modules import page_modules

TEXTS = ["x", "http://192.168.1.20:7330/", "http://[2001:db8:1234:5678:abcd:ef01:2345:6789]:7330/",
         "y" * 17, "y" * 18, "z" * 70, "q" * 106]  # fmt: skip

OTHER_ENCODER = """
import { generate, mode } from "%s";
for (const text of %s) for (let mask = 0; mask < 8; mask++) {
    const code = generate(text, { minCorrectionLevel: 0, maxCorrectionLevel: 0, mask, modes: [mode.ascii] });
    const rows = [];
    for (let y = 0; y < code.size; y++) rows.push([...Array(code.size).keys()].map(x => +code.get(x, y)));
    console.log(JSON.stringify([text, mask, rows]));
}
"""


def test_codes_are_those_that_the_page_makes(tmp_path: Path) -> None:
    script = tmp_path / "codes.mjs"
    library = page_modules() / "vendor" / "lean-qr.js"
    script.write_text(OTHER_ENCODER % (library, json.dumps(TEXTS)))
    done = subprocess.run([program("node", "node"), script], capture_output=True, text=True, timeout=60, check=True)
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(codes) == 8 * len(TEXTS)
    for text, mask, rows in codes:
        assert qr.encode(text, mask) == rows, (text, mask)


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        qr.encode("q" * 107)


def test_drawn_it_has_light_around_it_and_two_rows_in_a_line() -> None:
    code = qr.encode("http://192.168.1.20:7330/")
    drawn = [["█▀▄ ".index(character) for character in line] for line in qr.rows(code)]
    modules = [
        [dark >> 1 for dark in line] if half == 0 else [dark & 1 for dark in line] for line in drawn for half in (0, 1)
    ]
    assert [row[2:-2] for row in modules[2 : 2 + len(code)]] == code
    around = modules[:2] + modules[2 + len(code) :] + [row[:2] + row[-2:] for row in modules]
    assert not any(map(any, around))


def test_it_says_where_the_page_is_and_that_it_is_open() -> None:
    text = screen_text("stage-left", ["169.254.3.4 (eth1)", "2001:db8::5 (eth0)", "10.0.0.5 (eth0)"], True, [])
    assert "http://10.0.0.5:7330/" in text
    assert "http://stage-left.local:7330/" in text
    assert "2001:db8::5 (eth0)" in text
    assert "OPEN to everyone" in text
    assert qr.rows(qr.encode("http://10.0.0.5:7330/"))[5] in text
    assert "OPEN" not in screen_text("stage-left", ["10.0.0.5 (eth0)"], False, [])


def test_an_address_of_ipv6_is_written_as_a_browser_needs_it() -> None:
    assert "http://[2001:db8::5]:7330/" in screen_text("box", ["2001:db8::5 (eth0)"], False, [])


def test_without_a_network_it_says_how_to_plug_a_laptop_in() -> None:
    text = " ".join(screen_text("stage-left", [], True, []).split())
    assert "No network" in text
    assert "plug a laptop straight into the box" in text
    assert "http://stage-left.local:7330/" in text


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
    st.lists(st.one_of(st.ip_addresses().map(lambda ip: f"{ip} (eth0)")), max_size=12),
    st.lists(st.text(max_size=400), max_size=12),
    st.booleans(),
)
def test_it_fits_on_a_screen_whatever_is_wrong(
    name: str, addresses: list[str], problems: list[str], is_open: bool
) -> None:
    lines = screen_text(name, addresses, is_open, problems).removesuffix("\n").split("\n")
    assert len(lines) <= HEIGHT - 5
    assert all(len(line) <= WIDTH for line in lines)


def test_it_is_written_once_and_the_terminals_are_told(board: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(screen, "run", lambda *words, timeout_s: commands.append(words))
    (board.root / "etc").mkdir(exist_ok=True)
    (board.root / "etc/hostname").write_text("stage-left\n")
    add_problem(board, r"wifi.txt: the network \n is not there")
    assert write_screen(board, ["10.0.0.5 (eth0)"], is_open=True)
    assert not write_screen(board, ["10.0.0.5 (eth0)"], is_open=True)
    assert commands == [("agetty", "--reload")]
    assert r"the network \\n is" in (board.root / FILE).read_text()


def test_a_router_is_asked_whether_it_is_open(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert not router_is_open(places)
    socket = tmp_path / screen.CONTROL
    socket.parent.mkdir(parents=True)
    token = '[[security.token]]\ntoken = "a-token-of-this-test"\nsubject = "x"\nscopes = ["read:/**"]\n'
    for config, expected in (("", True), (f'[security]\nmode = "authenticated"\n{token}', False)):
        with Daemon(config=config, sets={"console.socket": str(socket)}):
            assert router_is_open(places) is expected


@pytest.mark.parametrize("said", [b"", b"{}\n", b"[]\n", b"null\n", b'{"result": {"router": 7}}\n', b"\xff\n", b"["])
def test_an_answer_that_makes_no_sense_is_not_open(tmp_path: Path, said: bytes) -> None:
    import socket
    import threading

    path = tmp_path / screen.CONTROL
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        assert not router_is_open(Places(tmp_path))
        thread.join()
