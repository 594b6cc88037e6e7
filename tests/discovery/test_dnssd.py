"""What systemd-resolved is given to announce: the files' form, what stands in them, and that old ones go."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from support.console import clasp_edge

from clasp_edge.config.load import load_config
from clasp_edge.discovery.dnssd import files, write

BOARD = Path(__file__).parents[2] / "image/overlay/etc/clasp-edge/conf.d/10-board.toml"


def made(*sets: str, **known: str) -> dict[str, str]:
    return files(load_config(None, list(sets)), **known)


def section(text: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    assert parser.sections() == ["Service"]
    return dict(parser["Service"])


def test_what_a_board_announces() -> None:
    found = files(load_config(BOARD, ['name="stage left"']), router_id="edge-4f", fingerprint="")
    assert {name: section(text)["Type"] for name, text in found.items()} == {
        "clasp-edge-clasp-tcp.dnssd": "_clasp._tcp",
        "clasp-edge-http-tcp.dnssd": "_http._tcp",
        "clasp-edge-osc-udp.dnssd": "_osc._udp",
        "clasp-edge-mqtt-tcp.dnssd": "_mqtt._tcp",
        "clasp-edge-oscjson-tcp.dnssd": "_oscjson._tcp",
    }
    clasp = section(found["clasp-edge-clasp-tcp.dnssd"])
    assert (clasp["Name"], clasp["Port"]) == ("stage left", "7330")
    assert clasp["TxtText"] == ('"version=2" "name=stage left" "features=pesgt" "ws=7330" "path=/clasp" "id=edge-4f"')


def test_nothing_of_loopback_and_none_without_a_port() -> None:
    assert made("websocket.listen=127.0.0.1:7330", "mqtt.listen=0.0.0.0:0", "osc.listen=off") == {}
    assert made("websocket.listen=off", "mqtt.listen=off", "osc.listen=[::1]:8000") == {}


@pytest.mark.parametrize(
    "name", ["50 % more", 'say \\"hi\\"', "a\\\\b", "x" * 100, "\u00e4" * 60, "end\\\\", "x" * 62 + "\\\\y", "\\\\"]
)
def test_a_name_is_one_word_and_no_specifier(name: str) -> None:
    text = made(f'name="{name}"', "websocket.listen=0.0.0.0:7330")["clasp-edge-clasp-tcp.dnssd"]
    found = section(text)
    assert len(found["Name"].replace("%%", "%").encode()) <= 63
    assert "%" not in found["Name"].replace("%%", "")
    assert text.count("\n") == 5
    assert not any(line.endswith("\\") for line in text.splitlines())  # it would go on with the next one


@pytest.mark.daemon
def test_they_are_written_and_old_ones_go(tmp_path: Path) -> None:
    (tmp_path / "clasp-edge-mqtt-tcp.dnssd").write_text("old")
    (tmp_path / "other.dnssd").write_text("not ours")
    done = clasp_edge(
        "dnssd", "--into", str(tmp_path), "--set", "websocket.listen=0.0.0.0:7330", "--set", "mqtt.listen=off"
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "clasp-edge-clasp-tcp.dnssd", "clasp-edge-http-tcp.dnssd", "clasp-edge-osc-udp.dnssd", "other.dnssd"
    }  # fmt: skip
    write(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["other.dnssd"]
    assert "_clasp._tcp" in clasp_edge("dnssd", "--set", "websocket.listen=0.0.0.0:7330").stdout
    assert clasp_edge("dnssd", "--into", "/proc/nowhere").returncode == 1
