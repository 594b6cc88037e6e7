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


def read_configured(config: Config) -> tuple[list[Rule], list[tuple[str, str]], list[str]]:
    """The rules of a configuration; `(key path or file, sentence)` for each problem; remarks on what was written for
    the reference router."""
    from clasp_edge.rules.files import read_all

    return read_all(config.rule, config.map, config.scene, config.rules.files)
