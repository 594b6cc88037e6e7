"""The rules of a configuration, read: for the part that runs them, and for a look at a configuration before that.

Imports nothing of a running router.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.config.model import Config

if TYPE_CHECKING:
    from clasp_edge.rules.model import Rule


def has_rules(config: Config) -> bool:
    """Whether the configuration asks for the room at all."""
    return bool(config.rule or config.map or config.rules.files)


Read = tuple[list["Rule"], list[tuple[str, str]], list[str]]

_checked: list[tuple[Config, Read]] = []
"""At most one: what `check_configured` has read last. Thousands of rules take a second on a board, so they
are read once."""


def check_configured(config: Config) -> Read:
    """As `read_configured`, which then has it at hand, once, for the same configuration."""
    found = _read(config)
    _checked[:] = [] if found[1] else [(config, found)]
    return found


def read_configured(config: Config) -> Read:
    """The rules of a configuration; `(key path or file, sentence)` for each problem; remarks on what was written for
    the reference router."""
    while _checked:
        checked, found = _checked.pop()
        if _same(checked, config):
            return found
    return _read(config)


def _same(left: Config, right: Config) -> bool:
    return (
        left.rule is right.rule
        and left.map is right.map
        and left.scene is right.scene
        and left.rules.files is right.rules.files
    )


def _read(config: Config) -> Read:
    from clasp_edge.rules.files import read_all

    return read_all(config.rule, config.map, config.scene, config.rules.files)
