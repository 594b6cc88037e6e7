"""Capability tokens (`cap_`): made elsewhere with a private key, checked here with the public one.

Root tokens are wire compatible with the reference (docs/protocol/security.md 5). A delegated one must carry what is
needed to check its ancestors (`chain`, an extra key that the reference passes over): each signature is verified with
its own issuer's key, expiries only shrink, each audience that was named is the next issuer, scopes are within those
above them. Without that, a delegation is nobody's word and is refused. Knows no session and no file.

The signature library is PyNaCl (1.3 MB where `cryptography` takes 7.6 MB), imported for the first such token.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from clasp_edge.security.scope import Scope, ScopeError, Scopes

PREFIX = "cap_"

LONGEST_TOKEN = 8192
"""Characters: far more than five delegations with scopes take."""

MAX_DEPTH = 5
"""Delegations of a token, as the reference has it."""

MAX_SCOPES = 64
KEY_BYTES = 32
SIGNATURE_BYTES = 64
_NONCE = re.compile(r"[A-Za-z0-9:_.-]{1,128}")
"""What can be revoked by name, and written into a log."""

LAST_TIME = 2**64 - 1

_WORDS = frozenset({"read", "write", "admin"})
"""The actions that count in these tokens: whole words, lower case."""

_KEYS = ("version", "issuer", "audience", "scopes", "expires_at", "nonce", "proofs")
"""In the order in which they are signed."""


class CapabilityError(ValueError):
    """The token admits nobody; the text says why."""


class Expired(CapabilityError):
    """It did, up to its expiry."""


class NoLibrary(CapabilityError):
    """The signature library is not installed."""


@dataclass(frozen=True, slots=True)
class Link:
    """One signed statement: the root, a delegation, or the token itself. `audience` None: whoever holds it."""

    issuer: bytes
    audience: bytes | None
    scopes: tuple[str, ...]
    expires_at: int
    nonce: str
    signature: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Capability:
    """A token: its links, the root first. `verifiable`: what the ancestors signed is known."""

    links: tuple[Link, ...]
    verifiable: bool = True

    @property
    def leaf(self) -> Link:
        return self.links[-1]

    @property
    def root(self) -> Link:
        return self.links[0]

    @property
    def depth(self) -> int:
        """Delegations between the root and the token."""
        return len(self.links) - 1


# ---- reading ----


def decode(token: str) -> Capability:
    """Read a token without checking anything it says. Raises CapabilityError."""
    if not token.startswith(PREFIX):
        raise CapabilityError("no capability token: it begins with cap_")
    if len(token) > LONGEST_TOKEN:
        raise CapabilityError(f"longer than {LONGEST_TOKEN} characters")
    body = token.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        found = msgpack.unpackb(raw, max_str_len=4096, max_array_len=256, max_map_len=32, max_bin_len=256)
    except (binascii.Error, ValueError, msgpack.UnpackException, RecursionError, UnicodeDecodeError):
        raise CapabilityError("malformed: no base64url of MessagePack") from None
    if not isinstance(found, dict):
        raise CapabilityError("malformed: no map")
    if found.get("version") != 1 or isinstance(found.get("version"), bool):
        raise CapabilityError("of another version than 1")
    proofs, chain = found.get("proofs", []), found.get("chain")
    if not isinstance(proofs, list) or len(proofs) > MAX_DEPTH:
        raise CapabilityError(f"more than {MAX_DEPTH} delegations")
    verifiable = not proofs or (isinstance(chain, list) and len(chain) == len(proofs))
    links = []
    for at, proof in enumerate(proofs):
        if not isinstance(proof, dict):
            raise CapabilityError("malformed: proof")
        said = chain[at] if verifiable and isinstance(chain, list) else {"expires_at": 0, "nonce": "unknown"}
        if not isinstance(said, dict):
            raise CapabilityError("malformed: chain")
        links.append(_link(proof | {key: said.get(key) for key in ("audience", "expires_at", "nonce")}))
    return Capability((*links, _link(found)), verifiable)


def _link(found: dict[Any, Any]) -> Link:
    scopes, expires_at, nonce = found.get("scopes"), found.get("expires_at"), found.get("nonce")
    if not isinstance(scopes, list) or len(scopes) > MAX_SCOPES or not all(isinstance(one, str) for one in scopes):
        raise CapabilityError("malformed: scopes")
    if not isinstance(expires_at, int) or isinstance(expires_at, bool) or not 0 <= expires_at <= LAST_TIME:
        raise CapabilityError("malformed: expires_at")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise CapabilityError("malformed: nonce")
    audience = found.get("audience")
    return Link(
        _bytes(found.get("issuer"), KEY_BYTES, "issuer"),
        None if audience is None else _bytes(audience, KEY_BYTES, "audience"),
        tuple(scopes),
        expires_at,
        nonce,
        _bytes(found.get("signature"), SIGNATURE_BYTES, "signature"),
    )


def _bytes(value: object, size: int, name: str) -> bytes:
    """Bytes, or the array of numbers that the reference writes for keys."""
    if isinstance(value, list) and all(isinstance(one, int) and 0 <= one <= 255 for one in value):
        value = bytes(value)
    if not isinstance(value, bytes) or len(value) != size:
        raise CapabilityError(f"malformed: {name}")
    return value


# ---- checking ----


def verify(token: str, anchors: Sequence[bytes], now_s: float, max_depth: int = MAX_DEPTH) -> Capability:
    """The token, if it holds. `anchors` are the public keys that may begin a chain. Raises CapabilityError."""
    capability = decode(token)
    if now_s > capability.leaf.expires_at:
        raise Expired("has expired")
    if capability.depth > max_depth:
        raise CapabilityError(f"delegated {capability.depth} times, at most {max_depth} are allowed")
    if capability.root.issuer not in anchors:
        raise CapabilityError("its root is none of security.trust_anchors")
    if not capability.verifiable:
        raise CapabilityError("unverifiable delegation: it does not carry what its ancestors have signed")
    for at, link in enumerate(capability.links):
        if at:
            _check_step(capability.links[at - 1], link)
        if not _signed(link.issuer, signing_input(link, capability.links[:at]), link.signature):
            raise CapabilityError("a signature is wrong")
    return capability


def _check_step(above: Link, below: Link) -> None:
    if below.expires_at > above.expires_at:
        raise CapabilityError("a delegation outlives what it was made from")
    if above.audience is not None and above.audience != below.issuer:
        raise CapabilityError("delegated by somebody it was not made for")
    wider = next(beyond(above.scopes, below.scopes), None)
    if wider is not None:
        raise CapabilityError(f'the scope "{wider[:100]}" is wider than what it was delegated from')


def beyond(above: Sequence[str], below: Sequence[str]) -> Iterator[str]:
    """The scopes of `below` that are not within one of `above`."""
    granted = list(scopes_of(above))
    for text in below:
        for scope in scopes_of([text]):
            if not any(_within(one, scope) for one in granted):
                yield text


def _within(above: Scope, below: Scope) -> bool:
    return above.grants(below.action) and Scopes([above]).covers(below.action, below.pattern)


def scopes_of(texts: Sequence[str]) -> Iterator[Scope]:
    """Those that count: whole words in lower case with a pattern that can be read; others grant nothing."""
    for text in texts:
        if text.partition(":")[0] not in _WORDS:
            continue
        try:
            yield Scope.parse(text)
        except ScopeError:
            continue


def names_of(capability: Capability) -> frozenset[str]:
    """What it can be revoked by: nonces and issuers of all its links."""
    return frozenset(name for link in capability.links for name in (link.nonce, key_text(link.issuer)))


# ---- making ----


def signing_input(link: Link, ancestors: Sequence[Link]) -> bytes:
    """What the issuer signs: seven keys in a fixed order, public keys as arrays of numbers."""
    return _packed(
        {
            "version": 1,
            "issuer": list(link.issuer),
            "audience": None if link.audience is None else list(link.audience),
            "scopes": list(link.scopes),
            "expires_at": link.expires_at,
            "nonce": link.nonce,
            "proofs": [_proof(one) for one in ancestors],
        }
    )


def encode(capability: Capability) -> str:
    """The token's text: keys that are absent are left out, as the reference does."""
    *ancestors, leaf = capability.links
    found: dict[str, Any] = {"version": 1, "issuer": list(leaf.issuer)}
    if leaf.audience is not None:
        found["audience"] = list(leaf.audience)
    found |= {"scopes": list(leaf.scopes), "expires_at": leaf.expires_at, "nonce": leaf.nonce}
    if ancestors:
        found["proofs"] = [_proof(one) for one in ancestors]
    found["signature"] = leaf.signature
    if ancestors:
        found["chain"] = [
            {
                "audience": None if one.audience is None else list(one.audience),
                "expires_at": one.expires_at,
                "nonce": one.nonce,
            }
            for one in ancestors
        ]
    return PREFIX + base64.urlsafe_b64encode(_packed(found)).rstrip(b"=").decode()


def create(
    seed: bytes, scopes: Sequence[str], expires_at: int, audience: bytes | None = None, nonce: str = ""
) -> Capability:
    """A root token, signed with the private key of `seed`. Raises CapabilityError."""
    return _signed_link(seed, (), scopes, expires_at, audience, nonce)


def delegate(
    parent: Capability, seed: bytes, scopes: Sequence[str], expires_at: int, audience: bytes | None = None,
    nonce: str = "",
) -> Capability:  # fmt: skip
    """A narrower token made from `parent`, signed with a key of one's own. Raises CapabilityError."""
    if parent.depth >= MAX_DEPTH:
        raise CapabilityError(f"it has been delegated {MAX_DEPTH} times, and no further")
    if not parent.verifiable:
        raise CapabilityError("unverifiable delegation: it does not carry what its ancestors have signed")
    child = _signed_link(seed, parent.links, scopes, min(expires_at, parent.leaf.expires_at), audience, nonce)
    _check_step(parent.leaf, child.leaf)
    return child


def _signed_link(
    seed: bytes, ancestors: tuple[Link, ...], scopes: Sequence[str], expires_at: int, audience: bytes | None, nonce: str
) -> Capability:
    for text in scopes:
        if not list(scopes_of([text])):
            raise CapabilityError(f'"{text[:100]}" is no scope: read, write or admin, ":" and a pattern')
    if not scopes or len(scopes) > MAX_SCOPES:
        raise CapabilityError(f"a token has 1 to {MAX_SCOPES} scopes")
    public, secret = _keys(seed)
    link = Link(public, audience, tuple(scopes), expires_at, nonce or str(uuid.uuid4()))
    signature = _library().crypto_sign(signing_input(link, ancestors), secret)[:SIGNATURE_BYTES]
    signed = Link(public, audience, link.scopes, expires_at, link.nonce, signature)
    return Capability((*ancestors, signed))


def public_key(seed: bytes) -> bytes:
    """The public key of a private one."""
    return _keys(seed)[0]


def _proof(link: Link) -> dict[str, Any]:
    return {"issuer": list(link.issuer), "scopes": list(link.scopes), "signature": link.signature}


def _packed(found: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(found)
    return packed


def _keys(seed: bytes) -> tuple[bytes, bytes]:
    if len(seed) != KEY_BYTES:
        raise CapabilityError(f"a private key has {KEY_BYTES} bytes")
    public, secret = _library().crypto_sign_seed_keypair(seed)
    return public, secret


def _signed(key: bytes, message: bytes, signature: bytes) -> bool:
    library = _library()
    try:
        library.crypto_sign_open(signature + message, key)
    except Exception:  # a class of the library's own, which is not imported before
        return False
    return True


def _library() -> Any:
    try:
        from nacl import bindings
    except ImportError:
        raise NoLibrary("capability tokens need PyNaCl: pip install '.[capabilities]'") from None
    return bindings


# ---- keys as people write them ----

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519 = b"\xed\x01"


def read_key(text: str) -> bytes:
    """A public key: `did:key:z...` or `ed25519:` and 64 hex digits. Raises CapabilityError.

    Bare hex is refused: the reference's anchor files hold private keys in that form.
    """
    if text.startswith("ed25519:"):
        try:
            key = bytes.fromhex(text.removeprefix("ed25519:"))
        except ValueError:
            key = b""
        if len(key) == KEY_BYTES:
            return key
    elif text.startswith("did:key:z") and len(text) < 100:
        data = _base58(text.removeprefix("did:key:z"))
        if len(data) == len(_ED25519) + KEY_BYTES and data.startswith(_ED25519):
            return data[len(_ED25519) :]
    raise CapabilityError('a public key is "did:key:z..." or "ed25519:" and 64 hex digits')


def key_text(key: bytes) -> str:
    """A public key as `did:key`."""
    number = int.from_bytes(_ED25519 + key, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    return f"did:key:z{digits}"


def _base58(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            return b""
        number = number * 58 + digit
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
