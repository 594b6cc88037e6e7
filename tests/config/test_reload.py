"""A changed file in a running daemon: which keys are taken over, which need a restart."""

from __future__ import annotations

from pathlib import Path

from clasp_edge.config.load import load_config
from clasp_edge.config.model import Config, leaves
from clasp_edge.config.reload import LIVE, RESTART, reloadable_changes, reloaded

SETS = [
    "data_dir=/elsewhere",
    "websocket.listen=127.0.0.1:7400",
    "limits.max_sessions=5",
    "limits.arena_mib=32",
    "limits.history_kib=0",
    "state.strategy=[{pattern='/a', strategy='max'}]",
    "security.token=[{token='a', scopes=['read:/**']}]",
    "log.level=debug",
]


def test_every_key_is_either_live_or_needs_a_restart() -> None:
    assert set(leaves(Config())) == LIVE | RESTART
    assert not LIVE & RESTART


def test_nothing_changed() -> None:
    assert reloadable_changes(Config(), Config()) == ([], [])


def test_changes_are_told_apart() -> None:
    applied, need_restart = reloadable_changes(Config(), load_config(None, SETS))
    assert applied == ["limits.max_sessions", "state.strategy", "security.token", "log.level"]
    assert need_restart == [
        "data_dir",
        "websocket.listen",
        "limits.arena_mib",
        "limits.history_kib",
    ]


def test_a_change_of_the_mode_leaves_the_tokens_to_the_restart_too() -> None:
    old = load_config(None, ["security.mode=authenticated", "security.token=[{token='a', scopes=['read:/**']}]"])
    assert reloadable_changes(old, Config()) == ([], ["security.mode", "security.token"])
    assert reloaded(old, Config()).security == old.security
    assert reloaded(Config(), old).security == Config().security


def test_what_is_in_force_is_the_new_live_part_on_the_old_rest() -> None:
    old = load_config(None, ["data_dir=/here", "tcp.listen=:7331"])
    new = load_config(None, SETS)
    now = leaves(reloaded(old, new))
    assert {key: now[key] for key in LIVE} == {key: leaves(new)[key] for key in LIVE}
    assert {key: now[key] for key in RESTART} == {key: leaves(old)[key] for key in RESTART}
    assert now["data_dir"] == Path("/here")
