"""Passwords as they are kept: PBKDF2-SHA512 of our own, and the two formats of Mosquitto's password file.

    $pbkdf2-sha512$ITERATIONS$SALT$HASH     ours
    $7$ITERATIONS$SALT$HASH                 mosquitto_passwd since 2.0: the same function
    $6$SALT$HASH                            mosquitto_passwd before: one SHA-512 of password and salt

Salt and hash in base64. A check takes up to a tenth of a second: `daemon.password_checks` makes it beside the loop.
Imports OpenSSL (its PBKDF2), and only when a password is looked at.
"""

from __future__ import annotations

import base64
import binascii
import os

ITERATIONS = 50_000
"""About 60 ms on the development machine, a fifth of a second on a Raspberry Pi 4."""

MOST_ITERATIONS = 1_000_000
"""Of an imported hash: a check must end."""

MOST_DIGITS = 9
"""Of a number of iterations."""

SALT_BYTES = 16
HASH_BYTES = 64

MOST_PASSWORD_BYTES = 1024

_OURS, _SEVEN, _SIX = "pbkdf2-sha512", "7", "6"


class HashError(ValueError):
    """A text that is no hash of a known form; the text says why, without a word of it."""


def hash_of(password: str) -> str:
    """What is kept of a new password."""
    salt = os.urandom(SALT_BYTES)
    return f"${_OURS}${ITERATIONS}${_text(salt)}${_text(_pbkdf2(password.encode(), salt, ITERATIONS))}"


def check_form(kept: str) -> str:
    """`kept`, if it is a hash that `matches` can check. Raises HashError."""
    _parts(kept)
    return kept


def matches(kept: str, password: bytes) -> bool:
    """Whether this is the password. Slow by intent."""
    if len(password) > MOST_PASSWORD_BYTES:
        return False
    form, iterations, salt, wanted = _parts(kept)
    if form == _SIX:
        from hashlib import sha512

        found = sha512(password + salt).digest()
    else:
        found = _pbkdf2(password, salt, iterations)
    from hmac import compare_digest

    return compare_digest(found, wanted)


def waste_time(password: bytes) -> None:
    """As long as a check takes: who asks must not learn from it whether there is such a user."""
    _pbkdf2(password[:MOST_PASSWORD_BYTES], b"nobody", ITERATIONS)


def _parts(kept: str) -> tuple[str, int, bytes, bytes]:
    fields = kept.split("$")
    if len(fields) < 4 or fields[0] or fields[1] not in (_OURS, _SEVEN, _SIX):
        raise HashError("no hash of a known form: $7$ and $6$ of mosquitto_passwd are understood")
    form = fields[1]
    if len(fields) != (4 if form == _SIX else 5):
        raise HashError(f"a ${form}$ hash has {2 if form == _SIX else 3} parts")
    iterations = 1
    if form != _SIX:
        digits = fields[2]
        # Their number first: a very long one takes long to read.
        good = len(digits) <= MOST_DIGITS and digits.isascii() and digits.isdecimal()
        if not good or not 0 < int(digits) <= MOST_ITERATIONS:
            raise HashError(f"its number of iterations is not from 1 to {MOST_ITERATIONS}")
        iterations = int(digits)
    try:
        salt, wanted = (base64.b64decode(field, validate=True) for field in fields[-2:])
    except (binascii.Error, ValueError):
        raise HashError("its salt or hash is no base64") from None
    if not salt or len(wanted) != HASH_BYTES:
        raise HashError("its salt is empty or its hash is cut off")
    return form, iterations, salt, wanted


def _pbkdf2(password: bytes, salt: bytes, iterations: int) -> bytes:
    # Not by way of hashlib: in a process that keeps OpenSSL out (daemon.no_tls), its own has none since Python 3.12.
    from _hashlib import pbkdf2_hmac

    return pbkdf2_hmac("sha512", password, salt, iterations, HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
