"""Patterns as MQTT, shells and others write them: refused wherever a person writes one, with the right spelling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clasp_edge.config.load import ConfigError
from clasp_edge.config.spelling import MOST_SPELLED_OUT, foreign_scope, foreign_spelling
from clasp_edge.daemon.verify import load_verified
from clasp_edge.security.token_file import TokenFile, TokenFileError


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("/show/#", ["/show/**"]),
        ("/#", ["/**"]),
        ("/show/+/level", ["/show/*/level"]),
        ("/show/>", ["/show/**"]),
        ("/show/...", ["/show/**"]),
        ("/show/***", ["/show/**"]),
        ("/show/a**", ["/show/a*"]),
        ("/show/**x/y", ["/show/*x/y"]),
        ("/show//level", ["/show/**/level"]),
        ("//level", ["/**/level"]),
        ("/{left,right}/level", ["/left/level", "/right/level"]),
        ("/{a,b}/{1,2}", ["/a/1", "/a/2", "/b/1", "/b/2"]),
        ("/lamp/[1-9]", ["/lamp/*"]),
        ("/lamp/[!1]", ["/lamp/*"]),
        ("/lamp/?", ["/lamp/*"]),
        ("/%s/{a,b}", ["/%s/a", "/%s/b"]),
    ],
)
def test_the_right_spelling_is_told(text: str, right: list[str]) -> None:
    reason = foreign_spelling(text)
    assert reason is not None
    assert reason.endswith(" and ".join(f'"{one}"' for one in right))
    assert foreign_scope(f"write:{text}") == reason


@pytest.mark.parametrize(
    "text",
    [
        "/", "/**", "/*", "/a/*/b", "/a/**/b", "/zone5*", "/zone*-{left,right}", "/zone[1-9]*", "/a/", "/cue#1",
        "/a+b", "/sensor[0]/t", "/a/{id}", "/%u/%c/**", "",
    ],
)  # fmt: skip
def test_what_is_meant_as_it_stands_is_not_touched(text: str) -> None:
    assert foreign_spelling(text) is None


def test_what_is_suggested_is_bounded() -> None:
    reason = foreign_spelling("/" + "{a,b}" * 20)
    assert reason is not None
    assert reason.count(" and ") == MOST_SPELLED_OUT - 1
    assert len(reason) < 2000


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("uplink.hub.wants[0]", '[uplink.hub]\nurl = "ws://hub"\nwants = ["/show/#"]'),
        ("uplink.hub.owns[0]", '[uplink.hub]\nurl = "ws://hub"\nowns = ["/show/#"]'),
        ("uplink.hub.policy", '[uplink.hub]\nurl = "ws://hub"\nowns = ["/show/**"]\npolicy = { "/show/#" = "log" }'),
        ("state.strategy[0].pattern", '[[state.strategy]]\npattern = "/show/#"\nstrategy = "max"'),
        ("journal.patterns[0]", '[journal]\npatterns = ["/show/#"]'),
        ("osc.target[0].patterns[0]", '[[osc.target]]\nname = "x"\nhost = "h"\nport = 1\npatterns = ["/show/#"]'),
        ("osc.events[0]", '[osc]\nevents = ["/show/#"]'),
        ("osc.scopes[0]", '[osc]\nscopes = ["write:/show/#"]'),
        ("mqtt.mount[0].address", '[[mqtt.mount]]\ntopic = "show/#"\naddress = "/show/#"'),
        ("bridge.b.map[0].address", '[bridge.b]\nbrokers = ["mqtt://b"]\nmap = [{topic = "s/#", address = "/show/#"}]'),
        ("rule[0]", '[[rule]]\nid = "r"\ntrigger = { type = "change", pattern = "/show/#" }\ndo = [{ unset = "/x" }]'),
        ("map[0]", '[[map]]\nfrom = "/show/#"\nto = "/x"'),
    ],
)  # fmt: skip
def test_the_configuration_refuses_it(key: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError) as refused:
        load_verified(path)
    assert key in str(refused.value)
    assert 'write "/show/**"' in str(refused.value)


def test_a_new_token_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r'write "/show/\*\*"'):
        TokenFile(tmp_path).add("desk", ["read:/show/#"], None)


@pytest.mark.parametrize(
    "line",
    [
        ["get", "/show/#"],
        ["watch", "/show/#"],
        ["replay", "/show/#"],
        ["backup", "/show/#"],
        ["journal", "dump", "/show/#"],
        ["token", "new", "desk", "--scope", "read:/show/#"],
        ["user", "add", "desk", "--scope", "read:/show/#"],
        ["token", "cap", "create", "--key", "k", "--expires", "1d", "--scope", "read:/show/#"],
    ],
)
def test_the_command_line_refuses_it(line: list[str]) -> None:
    if line[0] == "backup":
        line = [*line[:1], "file", *line[1:]]
    found = subprocess.run(
        [sys.executable, "-m", "clasp_edge", *line], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 2, found
    assert 'write "/show/**"' in found.stderr
