"""TLS of an uplink: the router's certificate is always verified, by the system's authorities, a private one or a pin.

The only place of this room that imports OpenSSL, and only when an endpoint is `wss`.
"""

from __future__ import annotations

import os
from asyncio import BaseTransport
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from clasp_edge.clock import Clock
from clasp_edge.security.certificate_time import go_by, time_fault

if TYPE_CHECKING:
    from ssl import SSLContext


class TlsError(Exception):
    """A file cannot be used; the text says which, and why."""


@dataclass(slots=True, frozen=True)
class TlsOptions:
    """Paths in PEM; "" for the system's authorities, for no client certificate, for a key that is in `cert`.

    `server_name` is the name in the router's certificate where that is not the one in the URL. `pin` is the
    fingerprint of the one certificate that is accepted, `sha256:` and 64 hex digits; authorities, names and dates do
    not count then.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    pin: str = ""


class TlsContexts:
    """Makes the context for each connection; anew when a file has changed, so that a renewed certificate counts."""

    def __init__(self, options: TlsOptions, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self._made_from: object = None
        self._context: SSLContext | None = None

    def context(self) -> SSLContext:
        """Blocks for some milliseconds where files have to be read. Raises TlsError."""
        files = [path for path in (self.options.ca, self.options.cert, self.options.key) if path]
        state = [_state(path) for path in files]
        if self._context is None or self._made_from != state:
            self._context = self._make()
            self._made_from = state
        go_by(self._context, self.clock)
        return self._context

    def _make(self) -> SSLContext:
        import ssl

        options = self.options
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=options.ca or None)
        except OSError as error:
            raise TlsError(f"tls_ca {options.ca}: {said(error)}") from None
        if options.pin:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # `check_pin` decides
        if options.cert:
            try:
                context.load_cert_chain(options.cert, options.key or None, _no_password)
            except OSError as error:
                names = " with ".join(filter(None, (options.cert, options.key)))
                raise TlsError(f"tls_cert {names}: {said(error)}") from None
            except ValueError:
                raise TlsError(f"tls_key {options.key or options.cert}: the key is encrypted") from None
        return context


def check_pin(transport: BaseTransport, pin: str) -> None:
    """Whether the other end shows the pinned certificate. Raises TlsError with the fingerprint that it has."""
    shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
    found = f"sha256:{sha256(shown).hexdigest()}"
    if found != pin.lower():
        raise TlsError(f"TLS: the certificate has the fingerprint {found}, and tls_pin another one")


def check_time(transport: BaseTransport, clock: Clock) -> None:
    """Whether the other end's certificate had not expired at the last time known. Raises TlsError."""
    if fault := time_fault(transport.get_extra_info("ssl_object").getpeercert(), clock):
        raise TlsError(f"TLS: {fault}")


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
