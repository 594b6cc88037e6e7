"""Keeps OpenSSL out of a process that speaks no TLS: 4.5 MB of memory, a seventh of what a board's daemon may take.

asyncio and uvloop import `ssl` for the names of a few classes, whether TLS is used or not, and `hashlib` and `hmac`
prefer OpenSSL's hashes to Python's own. While they are imported here they find stand-ins of the same names; afterwards
`import ssl` gives everybody else the real module. A TLS connection on this loop is then refused with a TypeError, so
this is only for a configuration without TLS.
"""

from __future__ import annotations

import sys
from types import ModuleType

_CLASSES = ("SSLContext", "MemoryBIO", "SSLObject", "Purpose")
_ERRORS = (
    "SSLError",
    "SSLWantReadError",
    "SSLWantWriteError",
    "SSLSyscallError",
    "SSLZeroReturnError",
    "SSLCertVerificationError",
    "CertificateError",
)
_NUMBERS = ("SSL_ERROR_WANT_READ", "SSL_ERROR_WANT_WRITE", "SSL_ERROR_SYSCALL")


def import_loop_without_tls() -> None:
    """Import asyncio, uvloop, hashlib and hmac without OpenSSL. Does nothing where one of them is already there."""
    if not {"ssl", "asyncio", "uvloop", "hashlib"}.isdisjoint(sys.modules):
        return
    standin = ModuleType("ssl", "Names that asyncio and uvloop look up at import; see clasp_edge.daemon.no_tls.")
    for name in _CLASSES:
        setattr(standin, name, type(name, (), {"__init__": _refuse}))
    for name in _ERRORS:
        setattr(standin, name, type(name, (OSError,), {}))
    for number, name in enumerate(_NUMBERS):
        setattr(standin, name, number)
    standin.create_default_context = _refuse  # type: ignore[attr-defined]
    sys.modules["ssl"] = standin
    sys.modules["_hashlib"] = None  # type: ignore[assignment]  # "not there", as hashlib understands it
    try:
        import asyncio  # noqa: F401
        import hashlib  # noqa: F401
        import hmac  # noqa: F401

        import uvloop  # noqa: F401
    finally:
        del sys.modules["ssl"], sys.modules["_hashlib"]


def _refuse(*args: object, **kwargs: object) -> None:
    raise TypeError("this process was started without TLS")
