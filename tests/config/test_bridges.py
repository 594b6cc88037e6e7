"""Bridges in the configuration: what a table may say, and what is said about one that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_edge.config.broker import Broker, parse_broker
from clasp_edge.config.load import ConfigError, load_config
from clasp_edge.config.model import Config
from clasp_edge.config.reload import reloadable_changes, reloaded

GOOD = """
[bridge.site]
brokers = ["mqtts://one:8884", "mqtt://[fe80::1]"]
username = "u"
password = "very-secret"
tls_ca = "/ca.pem"

[[bridge.site.map]]
topic = "site/+/#"
address = "/site/*/x/**"

[[bridge.site.map]]
direction = "in"
topic = "$SYS/broker/uptime"
address = "/broker/uptime"
qos = 0
"""


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "bridges.toml"
    path.write_text(text)
    return load_config(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


def test_bridges_have_names(tmp_path: Path) -> None:
    bridge = load(tmp_path, GOOD).bridge["site"]
    assert bridge.brokers == ("mqtts://one:8884", "mqtt://[fe80::1]")
    assert [part.direction for part in bridge.map] == ["both", "in"]
    assert [part.policy for part in bridge.map] == ["latest", "latest"]
    assert "very-secret" not in repr(bridge)


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("mqtt://host", Broker("host", 1883, False)),
        ("mqtts://host/", Broker("host", 8883, True)),
        ("mqtt://10.0.0.1:99", Broker("10.0.0.1", 99, False)),
        ("mqtts://[::1]:99", Broker("::1", 99, True)),
        ("mqtt://[::1]", Broker("::1", 1883, False)),
    ],
)
def test_brokers(text: str, broker: Broker) -> None:
    assert parse_broker(text) == broker
    assert parse_broker(str(broker)) == broker


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("host:1883", 'a broker is "mqtt://host:port" or "mqtts://host:port"'),
        ("http://host", 'a broker is "mqtt://host:port" or "mqtts://host:port"'),
        ("mqtt://user:secret@host", "user name and password of a broker have keys of their own"),
        ("mqtt://", 'a broker needs a host: "mqtt://"'),
        ("mqtt://host:0", 'a broker has a port from 1 to 65535: "mqtt://host:0"'),
        ("mqtt://host:x", 'the port must be a whole number from 0 to 65535, not "x" (in mqtt://host:x)'),
        ("mqtt://host/path", 'a broker has no path: "mqtt://host/path"'),
        ("mqtt://::1", 'an IPv6 address goes in brackets: "[:]:port" (in mqtt://::1)'),
    ],
)
def test_what_is_no_broker(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_broker(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("bridge.site", 'bridge."a b"', "bridge.a b: a bridge's name is 1 to 28 letters, digits, - and _"),
        ("brokers =", "broker =", 'bridge.site.broker: unknown key; the closest valid key is "brokers"'),
        ('["mqtts://one:8884", "mqtt://[fe80::1]"]', "[]", "bridge.site.brokers: must be a list of at least one text"),
        ("mqtts://one:8884", "mqtts://one:", "bridge.site.brokers[0]: the port must be a whole number from 0"),
        ('username = "u"', "", "bridge.site.password: without a username it would not be sent"),
        (
            'password = "very-secret"',
            "password = 5",
            "bridge.site.password: must be text of 0 to 4096 characters, not this",
        ),
        ("mqtts://one:8884", "mqtt://one", 'bridge.site.tls_ca: none of the brokers begins with "mqtts://"'),
        ("tls_ca", "tls_key", "bridge.site.tls_key: without tls_cert it is of no use"),
        (
            'direction = "in"',
            'direction = "up"',
            'bridge.site.map[1].direction: must be "in", "out" or "both", not "up"',
        ),
        ('direction = "in"', "", 'bridge.site.map[1].topic: nobody may publish to topics with "$" in front'),
        ('direction = "in"', 'retain = "yes"', 'bridge.site.map[1].retain: must be true or false, not "yes"'),
        ("qos = 0", 'qos = 0\npolicy = "log"', 'bridge.site.map[1].policy: "log" needs qos 1 or 2'),
        ("qos = 0", "qos = 3", "bridge.site.map[1].qos: must be 0, 1 or 2, not 3"),
        ("site/+/#", "site/+x/#", 'bridge.site.map[0].topic: in a topic "+" is a whole level'),
        ("site/+/#", "site/#/+", 'bridge.site.map[0].topic: in a topic "+" is a whole level'),
        ("site/+/#", "$share/g/+/#", "bridge.site.map[0].topic: a bridge has no part in a shared subscription"),
        ("site/+/#", "site/+", "bridge.site.map[0].address: needs the wildcards of the topic in the same order"),
        ("/site/*/x/**", "/site/**/x/*", 'bridge.site.map[0].address: in a map "**" is the last segment'),
        ("/site/*/x/**", "/site/z*/x/**", 'bridge.site.map[0].address: in a map "*" stands for a whole segment'),
        ("/site/*/x/**", "site/*/x/**", 'bridge.site.map[0].address: an address pattern starts with "/"'),
        ("topic =", "topics =", "bridge.site.map[0].topics: unknown key"),
    ],
)
def test_what_is_said_about_a_bridge_that_cannot_be_meant(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new) if "bridge" in old else GOOD.replace(old, new, 1)
    assert any(line.startswith(complaint) for line in problems(tmp_path, text)), problems(tmp_path, text)


def test_a_bridge_needs_a_map_and_tables_need_names(tmp_path: Path) -> None:
    assert problems(tmp_path, '[bridge.a]\nbrokers = ["mqtt://h"]\n') == ["bridge.a.map: missing"]
    assert problems(tmp_path, '[bridge.a]\nbrokers = ["mqtt://h"]\nmap = []\n') == [
        "bridge.a.map: a bridge needs at least one [[bridge.NAME.map]]"
    ]
    assert problems(tmp_path, '[bridge]\nbrokers = ["mqtt://h"]\n') == [
        "bridge: must be tables with names: [bridge.NAME]"
    ]


def test_bridges_can_change_while_running(tmp_path: Path) -> None:
    new = load(tmp_path, GOOD)
    assert reloadable_changes(Config(), new) == (["bridge"], [])
    assert reloaded(Config(), new).bridge == new.bridge
