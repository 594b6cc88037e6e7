"""TLS of an uplink: the router's certificate is always verified, against the system's authorities or a private one.

The only place of this room that imports OpenSSL, and only when an endpoint is `wss`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl import SSLContext


class TlsError(Exception):
    """A file cannot be used; the text says which, and why."""


@dataclass(slots=True, frozen=True)
class TlsOptions:
    """Paths in PEM; "" for the system's authorities, for no client certificate, for a key that is in `cert`.

    `server_name` is the name in the router's certificate where that is not the one in the URL.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""


class TlsContexts:
    """Makes the context for each connection; anew when a file has changed, so that a renewed certificate counts."""

    def __init__(self, options: TlsOptions) -> None:
        self.options = options
        self._made_from: object = None
        self._context: SSLContext | None = None

    def context(self) -> SSLContext:
        """Blocks for some milliseconds where files have to be read. Raises TlsError."""
        files = [path for path in (self.options.ca, self.options.cert, self.options.key) if path]
        state = [_state(path) for path in files]
        if self._context is None or self._made_from != state:
            self._context = self._make()
            self._made_from = state
        return self._context

    def _make(self) -> SSLContext:
        import ssl

        options = self.options
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=options.ca or None)
        except OSError as error:
            raise TlsError(f"tls_ca {options.ca}: {said(error)}") from None
        if options.cert:
            try:
                context.load_cert_chain(options.cert, options.key or None, _no_password)
            except OSError as error:
                names = " with ".join(filter(None, (options.cert, options.key)))
                raise TlsError(f"tls_cert {names}: {said(error)}") from None
            except ValueError:
                raise TlsError(f"tls_key {options.key or options.cert}: the key is encrypted") from None
        return context


def said(error: OSError) -> str:
    """What OpenSSL or the system says about it, in few words."""
    # `reason` is that of an ssl.SSLError, such as NO_CERTIFICATE_OR_CRL_FOUND.
    verdict = getattr(error, "verify_message", None) or (getattr(error, "reason", None) or "").replace("_", " ").lower()
    return verdict or (os.strerror(error.errno) if error.errno else str(error) or type(error).__name__).lower()


def _no_password() -> str:
    # Otherwise OpenSSL would ask on the terminal.
    raise ValueError("encrypted")


def _state(path: str) -> tuple[str, int, int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise TlsError(f"{path}: {said(error)}") from None
    return path, found.st_mtime_ns, found.st_ino, found.st_size
