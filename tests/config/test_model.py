"""The defaults that others rely on, and the places where the daemon looks for its data directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clasp_edge.config.listen import Listen
from clasp_edge.config.model import Config, Token, default_data_dir


def test_defaults_are_those_of_the_reference_router() -> None:
    config = Config()
    assert config.name == "clasp-edge"
    assert config.websocket.listen == Listen("0.0.0.0", 7330)
    assert config.tcp.listen is None
    assert config.limits.max_sessions == 1000
    assert config.limits.session_timeout_s == 300
    assert config.limits.max_subscriptions_per_session == 10_000  # ours: a large Home Assistant
    assert config.limits.messages_per_second == 1000
    assert config.limits.gesture_coalesce_ms == 16
    assert config.state.param_ttl_s == 3600
    assert config.state.max_params == 100_000
    assert config.state.eviction == "lru"
    assert config.security.mode == "open"


@pytest.mark.parametrize(
    ("uid", "environment", "expected"),
    [
        (0, {"STATE_DIRECTORY": "/var/lib/given", "XDG_STATE_HOME": "/x"}, "/var/lib/given"),
        (1000, {"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, "/var/lib/one"),
        (0, {"XDG_STATE_HOME": "/x"}, "/var/lib/clasp-edge"),
        (1000, {"XDG_STATE_HOME": "/x"}, "/x/clasp-edge"),
        (1000, {}, "/home/me/.local/state/clasp-edge"),
    ],
)
def test_default_data_dir(
    monkeypatch: pytest.MonkeyPatch, uid: int, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert default_data_dir() == Path(expected)


def test_a_printed_token_does_not_show_its_secret() -> None:
    token = Token(token="hush-hush", subject="desk", scopes=("read:/**",))
    assert "hush" not in repr(token)
    assert "desk" in repr(token)
