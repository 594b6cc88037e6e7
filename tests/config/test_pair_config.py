"""`[federation.pair]`: mistakes are named by their key before anything runs."""

from __future__ import annotations

import pytest

from clasp_edge.config.load import ConfigError, load_config
from clasp_edge.config.reload import reloadable_changes, reloaded
from clasp_edge.daemon.cautions import cautions

URL = "federation.pair.url=ws://127.0.0.1:7330"


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["federation.pair.url=hub-b"], "federation.pair.url: "),
        (["federation.pair.url=discover:"], "is named by its address, not discovered"),
        (["federation.pair.router_id=a b"], "federation.pair.router_id: is letters, digits"),
        ([URL, "journal.mode=volatile"], 'needs journal.mode "group" or "strict", not "volatile"'),
        ([URL, "federation.keep_s=0"], "federation.keep_s: 0 would keep nothing for the other router"),
        ([URL, "federation.router_id=a", "federation.pair.router_id=a"], "is this router's own"),
        ([URL, 'uplink.pair.url="ws://h:1"', 'uplink.pair.owns=["/a/**"]'], "uplink.pair: is the name of the link"),
        ([URL, "federation.pair.token=x", "federation.pair.token_file=/y"], "federation.pair.token_file"),
        ([URL, "federation.pair.tls_pin=12"], "federation.pair.tls_pin: must be"),
        ([URL, "federation.pair.tls_key=/k"], "federation.pair.tls_key: without tls_cert"),
        ([URL, "federation.pair.tls_ca=/ca"], 'federation.pair.tls_ca: the url does not begin with "wss://"'),
        ([URL, "federation.pair.alone=perhaps"], "federation.pair.alone"),
        ([URL, "federation.pair.peer=b"], "federation.pair.peer: unknown key"),
    ],
)
def test_a_mistake_is_named(sets: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, sets)
    assert said in str(caught.value)


def test_one_side_may_do_without_a_url() -> None:
    assert load_config(None, ["federation.pair.router_id=b"]).federation.pair.on
    assert not load_config().federation.pair.on


def test_what_the_log_leaves_out_is_said() -> None:
    kept = load_config(None, [URL, "journal.mode=strict", 'journal.signals=["event"]', 'journal.patterns=["/a/**"]'])
    (said,) = (text for text in cautions(kept, None) if text.startswith("federation.pair"))
    assert "journal.signals lacks timeline, journal.signals lacks param, journal.patterns is not everything" in said
    assert not any(text.startswith("federation.pair") for text in cautions(load_config(None, [URL]), None))


def test_a_token_in_clear_is_said() -> None:
    config = load_config(None, ["federation.pair.url=ws://hub-b:7330", "federation.pair.token=abc"])
    assert any(text.startswith("federation.pair.token: travels in clear") for text in cautions(config, None))
    assert "abc" not in repr(config)


def test_it_is_taken_over_at_a_restart_only() -> None:
    old, new = load_config(), load_config(None, [URL])
    assert reloadable_changes(old, new) == ([], ["federation.pair.url"])
    assert not reloaded(old, new).federation.pair.on
