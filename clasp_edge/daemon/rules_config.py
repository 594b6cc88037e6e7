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


MANY = 500


def has_many_rules(config: Config) -> bool:
    """Whether what is made of them is worth a thought: thousands of objects."""
    return len(config.rule) + len(config.map) >= MANY or bool(config.rules.files)


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
    # The thread of a reload may put another one there at any time.
    for checked, found in _checked[:]:
        _checked.clear()
        if is_same(checked, config):
            return found
    return _read(config)


def is_same(left: Config, right: Config) -> bool:
    """Whether these have rules of one reading, but for what is in `rules.files`."""
    return (
        left.rule is right.rule
        and left.map is right.map
        and left.scene is right.scene
        and left.rules.files is right.rules.files
    )


def _read(config: Config) -> Read:
    from clasp_edge.rules.files import read_all

    return read_all(config.rule, config.map, config.scene, config.rules.files)
