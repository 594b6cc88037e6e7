"""What `check` and the start warn of, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.daemon import Daemon

from clasp_edge.config.load import ConfigError, load_config
from clasp_edge.config.model import Config
from clasp_edge.daemon.cautions import cautions
from clasp_edge.daemon.verify import load_verified

LOCKED = '[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "{}"\nscopes = ["read:/**"]\n'
LONG = "cpsk_0123456789abcdef0123456789abcdef"


def warned(text: str, tmp_path: Path, mode: int = 0o600) -> list[str]:
    path = tmp_path / "edge.toml"
    path.write_text(text)
    path.chmod(mode)
    return cautions(load_config(path), path)


def test_nothing_is_said_of_the_defaults(tmp_path: Path) -> None:
    assert warned("", tmp_path) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LOCKED.format("short"), "can be guessed"),
        (LOCKED.format("replace-me-by-a-long-random-text"), "example"),
        (LOCKED.format(LONG), "websocket.tls_listen"),
        ('[websocket]\nlisten = "8.8.8.8:7330"\n', "public address"),
        ('[uplink.hub]\nurl = "ws://10.0.0.1:7330"\ntoken = "x"\nowns = ["/mqtt/**", "/osc/**"]\n', "in clear"),
        ('[uplink.hub]\nurl = "ws://10.0.0.1:7330"\nowns = ["/stage/**", "/osc/**"]\n', "MQTT devices write to /mqtt"),
        ('[uplink.hub]\nurl = "ws://10.0.0.1:7330"\nowns = ["/stage/**", "/mqtt/**"]\n', "OSC devices write to /osc"),
    ],
)
def test_each_caution(text: str, says: str, tmp_path: Path) -> None:
    assert any(says in sentence for sentence in warned(text, tmp_path))


NETWORK = '[[security.network]]\nnetworks = ["10.0.0.0/8"]\nprotocols = {}\nscopes = ["{}"]\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NETWORK.format('["mqtt"]', "write:/lamps/**"), '"write:/lamps/**" allows nothing: devices reach /mqtt, '),
        (NETWORK.format('["osc"]', "write:/mqtt/**"), '"write:/mqtt/**" allows nothing: devices reach /osc only'),
        (NETWORK.format('["mqtt", "osc"]', "write:/osc/1"), None),
        (NETWORK.format('["mqtt"]', "write:/**"), None),
        (NETWORK.format('["mqtt"]', "write:/lamps/**") + '[mqtt]\nnamespace = ""\n', None),
        (
            NETWORK.format('["mqtt"]', "write:/lamps/1")
            + '[[mqtt.mount]]\ntopic = "l/#"\naddress = "/lamps/**"\nrights = "write"\n',
            None,
        ),
        ('[osc]\nscopes = ["write:/lights/**"]\n', 'osc.scopes: "write:/lights/**" allows nothing'),
    ],
)
def test_scopes_that_allow_nothing(text: str, says: str | None, tmp_path: Path) -> None:
    found = [sentence for sentence in warned(LOCKED.format(LONG) + text, tmp_path) if "allows nothing" in sentence]
    assert (says is None) == (not found)
    assert says is None or says in found[0]


def test_a_secret_on_the_command_line() -> None:
    sets = ("uplink.hub.token=x", "bridge.b.password = y", "limits.max_sessions=1")
    assert [text.partition(":")[0] for text in cautions(Config(), None, sets)] == [
        "--set uplink.hub.token",
        "--set bridge.b.password",
    ]


def test_devices_that_are_carried_are_not_named(tmp_path: Path) -> None:
    for owns in ('["/**"]', '["/mqtt/**", "/osc/**"]', '["/mqtt/sensors/*", "/osc/desk/**"]'):
        found = warned(f'[uplink.hub]\nurl = "wss://hub"\nowns = {owns}\n', tmp_path)
        assert not any("no uplink carries" in sentence for sentence in found)


UPLINK = '[uplink.hub]\nurl = "wss://hub"\nowns = ["/stage/**"]\n'


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ('[mqtt]\nnamespace = "/stage/mqtt"\n[osc]\nnamespace = "/stage/osc"\n', []),
        ('[mqtt]\nnamespace = "/zigbee"\n[osc]\nlisten = "off"\n', ["MQTT devices write to /zigbee,"]),
        ('[mqtt]\nlisten = "off"\n[osc]\nnamespace = "/desk"\n', ["OSC devices write to /desk,"]),
        ('[mqtt]\nlisten = "off"\n[osc]\nlisten = "off"\n', []),
        (
            '[mqtt]\nnamespace = ""\n[[mqtt.mount]]\ntopic = "z/#"\naddress = "/z/**"\n[osc]\nlisten = "off"\n',
            ["MQTT devices write to /z,"],
        ),
        (
            '[mqtt]\nlisten = "off"\n[osc]\nnamespace = ""\n'
            '[[osc.device]]\nname = "a"\nsource = "10.0.0.2"\nprefix = "/foh"\n'
            '[[osc.device]]\nname = "b"\nsource = "10.0.0.3"\nprefix = "/stage/b"\n',
            ["OSC devices write to /foh,"],
        ),
    ],
)
def test_namespaces_mounts_and_prefixes_are_looked_at(text: str, lost: list[str], tmp_path: Path) -> None:
    found = [sentence for sentence in warned(text + UPLINK, tmp_path) if "no uplink carries" in sentence]
    assert len(found) == len(lost)
    assert all(sentence.startswith(begins) for sentence, begins in zip(found, lost, strict=True))


def test_status_says_so_too() -> None:
    config = '[uplink.hub]\nurl = "ws://127.0.0.1:9"\nowns = ["/stage/**", "/osc/**"]\n'
    with Daemon(config=config, sets={"mqtt.listen": "127.0.0.1:0"}) as daemon:
        line = [sys.executable, "-m", "clasp_edge", "status", "--config", str(daemon.directory / "clasp-edge.toml")]
        line += ["--set", f"data_dir={daemon.data_dir}"]
        found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert "warning     MQTT devices write to /mqtt, which no uplink carries" in found.stdout
    assert "OSC devices" not in found.stdout


def test_a_file_with_secrets_that_everybody_may_read(tmp_path: Path) -> None:
    assert any("chmod" in sentence for sentence in warned(LOCKED.format(LONG), tmp_path, 0o644))
    assert not any("chmod" in sentence for sentence in warned(LOCKED.format(LONG), tmp_path, 0o640))
    assert warned("", tmp_path, 0o644) == []


def test_tokens_that_lock_nothing_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(LOCKED.format(LONG).replace("authenticated", "open"))
    with pytest.raises(ConfigError, match="lock nothing"):
        load_verified(path)


def test_check_says_so_and_is_content(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(LOCKED.format("short"))
    line = [sys.executable, "-m", "clasp_edge", "check", "--config", str(path)]
    found = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert found.returncode == 0
    assert "warning: security.token[0].token" in found.stdout
    assert found.stdout.endswith("ok\n")
    assert "short" not in found.stdout
