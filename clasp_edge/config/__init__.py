"""The TOML file and `--set`: its shape, its defaults, how it is read. A leaf that anyone may import."""

from __future__ import annotations

from clasp_edge.config.listen import Listen
from clasp_edge.config.load import ConfigError, Problem, default_text, load_config
from clasp_edge.config.model import Config, Journal, Limits, Log, Security, State, Strategy, Tcp, Token, Websocket
from clasp_edge.config.reload import reloadable_changes, reloaded

__all__ = [
    "Config",
    "ConfigError",
    "Journal",
    "Limits",
    "Listen",
    "Log",
    "Problem",
    "Security",
    "State",
    "Strategy",
    "Tcp",
    "Token",
    "Websocket",
    "default_text",
    "load_config",
    "reloadable_changes",
    "reloaded",
]
