"""The figures of a run: collected by name, printed as a table at the end, saved as JSON."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path


class Figures:
    """Values with their units, in the order in which they were measured."""

    def __init__(self, board: str) -> None:
        self.board = board
        self.rows: dict[str, tuple[float | str, str]] = {}

    def note(self, name: str, value: float | str, unit: str = "") -> None:
        """Keep a value."""
        self.rows[name] = (round(value, 2) if isinstance(value, float) else value, unit)

    def table(self) -> str:
        """For the terminal."""
        width = max((len(name) for name in self.rows), default=0)
        return "\n".join(f"  {name:<{width}}  {value:>12} {unit}" for name, (value, unit) in self.rows.items())

    def save(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "board": self.board,
            "host": platform.machine(),
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "figures": {name: {"value": value, "unit": unit} for name, (value, unit) in self.rows.items()},
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
