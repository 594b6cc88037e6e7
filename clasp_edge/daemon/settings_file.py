"""What was changed on the page: options on top of the configuration's files, in a file of the data directory.

The files in /etc belong to the administrator and are written by nobody else. What the command line says (--set) is
still above these.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clasp_edge.config.manual import options
from clasp_edge.security.kept_file import LARGEST_BYTES, KeptFileError, locked, write_text
from clasp_edge.text_file import read_text

NAME = "settings.toml"
HEAD = "# Changed on the router's page. A line that is taken out is again what the configuration's files say.\n"


def settings_path(data_dir: Path) -> Path:
    """Where they are."""
    return data_dir / NAME


def read_settings(data_dir: Path) -> dict[str, Any]:
    """Values by dotted key; none where there is no file. Raises KeptFileError."""
    path = settings_path(data_dir)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise KeptFileError(f"{path} is larger than {LARGEST_BYTES >> 20} MiB")
        found = tomllib.loads(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise KeptFileError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KeptFileError(f"{path} is damaged: {error}") from None
    flat = dict(_flat(found, ""))
    # What this version does not know as an option any more is in force nowhere.
    return {option.key: flat[option.key] for option in options() if option.key in flat}


def _flat(table: Mapping[str, Any], prefix: str) -> Any:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def write_settings(data_dir: Path, settings: Mapping[str, Any]) -> None:
    """Keep these, durably. Raises KeptFileError."""
    path = settings_path(data_dir)
    with locked(path):
        write_text(path, HEAD + "".join(f"{line}\n" for line in as_sets(settings)))


def as_sets(settings: Mapping[str, Any]) -> list[str]:
    """As `--set` takes them, one `section.key=value` each; these are lines of TOML too."""
    return [f"{key} = {toml_of(value)}" for key, value in settings.items()]


def toml_of(value: Any) -> str:
    """A value as it stands in the file."""
    if isinstance(value, list):
        return f"[{', '.join(toml_of(one) for one in value)}]"
    # JSON's texts, numbers and booleans are TOML's, but for what JSON need not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
