"""Certificates of others on a box whose clock is not set: OpenSSL would refuse them all as not valid yet.

While the wall clock is doubted (security.known_clock), OpenSSL is told not to look at times, and the other end's own
certificate is held against the last time known: one that had expired by then is refused, as it would be otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clasp_edge.clock import Clock

if TYPE_CHECKING:
    from ssl import SSLContext

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (OpenSSL's x509_vfy.h), which Python's ssl has no name for."""


def go_by(context: SSLContext, clock: Clock) -> None:
    """Have the connections that this context begins from now on look at times only where the clock is believed."""
    wanted = bool(context.verify_flags & NO_CHECK_TIME)
    if wanted != clock.doubted:
        # An enumeration of Python's, which keeps what it has no name for.
        context.verify_flags ^= NO_CHECK_TIME


def time_fault(certificate: Any, clock: Clock) -> str | None:
    """Why a certificate (as `ssl.SSLSocket.getpeercert` has it) is too old, for OpenSSL may not have
    looked: also where the clock was set while the handshake was under way. None for one that is not."""
    if not isinstance(certificate, dict) or "notAfter" not in certificate:
        return None
    from ssl import cert_time_to_seconds

    if cert_time_to_seconds(certificate["notAfter"]) < clock.believed_s():
        return f"the certificate has expired on {certificate['notAfter']}"
    return None
