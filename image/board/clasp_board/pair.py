"""Whether the router could use the certificate and key that its configuration names in `tls/`.

A certificate may be right by itself and still keep the router from starting: without its key, or with another's.
"""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import TypeGuard

from clasp_board import toml
from clasp_board.daemon_files import TLS
from clasp_board.system import write_atomically

PRIVATE = 0o600


def pair_fault(config: str | None, files: dict[str, str], trial: Path) -> str:
    """Why the router would not start with these files by this configuration; empty where it would, or where others
    judge. `trial` is a directory that is made and taken away."""
    try:
        tls = toml.load(config or "").get("tls")
    except ValueError:
        return ""
    tls = tls if isinstance(tls, dict) else {}
    chain, authority = tls.get("certificate"), tls.get("client_ca")
    key = tls.get("key") or chain
    shutil.rmtree(trial, ignore_errors=True)
    try:
        if _is_ours(chain) and _is_ours(key):
            paths = _written(chain, files, trial), _written(key, files, trial)
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(paths[0], paths[1], _no_password)
            except (OSError, ValueError) as error:
                return f"{chain} cannot be used with the key in {key} ({_said(error)})"
        if _is_ours(authority):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(_written(authority, files, trial))
            except (OSError, ValueError):
                return f"{authority} has no certificate in it, but tls.client_ca names it"
    except _NotThereError as error:
        return str(error)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    return ""


class _NotThereError(Exception):
    pass


def _is_ours(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name.startswith(TLS)


def _written(name: str, files: dict[str, str], trial: Path) -> Path:
    if name not in files:
        raise _NotThereError(f"{name} is not there, or cannot be used")
    path = trial / name
    trial.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, files[name].encode(), PRIVATE)
    return path


def _no_password() -> str:
    # Otherwise OpenSSL would ask on the console.
    raise ValueError("the key has a password")


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "it belongs to another certificate"
    return str(reason).replace("_", " ").lower() if reason else str(error)
