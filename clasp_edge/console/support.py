"""The support bundle: what somebody who helps from afar asks for first, and no secret. One JSON object.

Status, who is connected, the configuration in force, and the last lines of the log. Tokens and passwords are left out,
and so is what stands for a user in a URL.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from clasp_edge.config.build import SECRET_KEYS
from clasp_edge.config.model import Config
from clasp_edge.version import __version__

LEFT_OUT = "(left out)"

_IN_URL = re.compile(r"(?<=://)[^/@\s\"']*@")
_TOKEN = re.compile(r"\b(?:cpsk|cap)_[A-Za-z0-9_-]{8,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+")


def bundle(config: Config, lines: list[str], status: Callable[[], Any], clients: Callable[[], Any]) -> dict[str, Any]:
    """The whole bundle."""
    plain = msgspec.to_builtins(config, enc_hook=str)
    return {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": __version__,
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cpu": platform.machine()},
        "status": without_secrets(status()),
        "clients": without_secrets(clients()),
        "config": without_secrets(plain),
        "log": [_without_secrets_in(line) for line in lines],
    }


def without_secrets(value: Any) -> Any:
    """The same, with what lets somebody in left out."""
    if isinstance(value, Mapping):
        return {
            str(key): LEFT_OUT if key in SECRET_KEYS and isinstance(inner, str) and inner else without_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    return _without_secrets_in(value) if isinstance(value, str) else value


def _without_secrets_in(text: str) -> str:
    return _TOKEN.sub(LEFT_OUT, _IN_URL.sub("", text))
