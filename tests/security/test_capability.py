"""Capability tokens: wire compatible with the reference's roots, and delegations that are verified or refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.security import capability
from clasp_edge.security.capability import MAX_DEPTH, CapabilityError, Expired

# docs/protocol/security.md 5: made by the reference.
SEED, OTHER, THIRD = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
PUBLIC = bytes.fromhex("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c")
OTHER_PUBLIC = bytes.fromhex("8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394")
LATE = 4102444800
NONCE = "00000000-0000-4000-8000-00000000000"
ROOT = (
    "cap_hqd2ZXJzaW9uAaZpc3N1ZXLcACDMisyIzOPM3XQJzPHMlcz9UszbLTzMul1yzMpnCcy_HcyUEhvM83TMiAHMtA9vXKZzY29wZXORqHJlYWQ6LyoqqmV4"
    "cGlyZXNfYXTO9IZXAKVub25jZdkkMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwqXNpZ25hdHVyZcRA4X4_xagGV1wNllfUTXM-SgZ6I6ci"
    "2poK3vpBzAdoALHYAJvLtvc0PyAoioep3QpsDx0EAdJNgzWOluUwwSRUDg"
)
ROOT_INPUT = (
    "87a776657273696f6e01a6697373756572dc0020cc8acc88cce3ccdd7409ccf1cc95ccfd52ccdb2d3cccba5d72ccca6709ccbf1dcc94121bccf374cc8801"
    "ccb40f6f5ca861756469656e6365c0a673636f70657391a8726561643a2f2a2aaa657870697265735f6174cef4865700a56e6f6e6365d924303030303030"
    "30302d303030302d343030302d383030302d303030303030303030303030a670726f6f667390"
)
CHILD_SIGNATURE = (
    "0866c0b471fbe8be2d182919070cba799a7adfcb628e726400cc0460e5ac8bf5"
    "ac17f571701bc9fb7ae14a303c97d55823af6d341a82f57465b1d6061667cd01"
)
ANCHORS = [PUBLIC]
NOW = 1_800_000_000


def unpacked(token: str) -> dict[str, Any]:
    body = token.removeprefix("cap_")
    found = msgpack.unpackb(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert isinstance(found, dict)
    return found


def packed(found: dict[str, Any]) -> str:
    return "cap_" + base64.urlsafe_b64encode(msgpack.packb(found)).rstrip(b"=").decode()


def child(scopes: list[str] | None = None, **more: Any) -> capability.Capability:
    root = capability.decode(ROOT)
    return capability.delegate(root, OTHER, scopes or ["read:/lights/**"], LATE, **more)


def refused(token: str, anchors: list[bytes] | None = None) -> str:
    with pytest.raises(CapabilityError) as failed:
        capability.verify(token, ANCHORS if anchors is None else anchors, NOW)
    return str(failed.value)


def test_the_reference_s_root_token_is_made_and_read_byte_by_byte() -> None:
    made = capability.create(SEED, ["read:/**"], LATE, nonce=NONCE + "0")
    assert capability.encode(made) == ROOT
    assert capability.signing_input(made.leaf, ()).hex() == ROOT_INPUT
    assert capability.verify(ROOT, ANCHORS, NOW) == made
    assert capability.public_key(SEED) == PUBLIC
    assert capability.public_key(OTHER) == OTHER_PUBLIC


def test_the_reference_s_delegation_has_the_same_signature() -> None:
    made = child(nonce=NONCE + "1")
    assert made.leaf.signature.hex() == CHILD_SIGNATURE
    text = capability.encode(made)
    assert capability.verify(text, ANCHORS, NOW) == made
    # As the reference makes it: nothing that its ancestors could be checked by.
    found = unpacked(text)
    del found["chain"]
    assert "unverifiable delegation" in refused(packed(found))


def test_a_forged_chain_is_refused() -> None:
    """The reference takes any token that names an anchor's public key in a proof without a signature."""
    forger = capability.create(THIRD, ["admin:/**"], LATE)
    for signature in (b"\0" * 64, forger.leaf.signature):
        ancestor = capability.Link(PUBLIC, None, ("admin:/**",), LATE, "x", signature)
        forged = capability._signed_link(THIRD, (ancestor,), ["admin:/**"], LATE, None, "")
        assert "signature" in refused(capability.encode(forged))
        found = unpacked(capability.encode(forged))
        del found["chain"]
        assert "unverifiable" in refused(packed(found))


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def do(found: dict[str, Any]) -> None:
        found[key] = value

    return do


@pytest.mark.parametrize(
    "alter",
    [
        change("scopes", ["admin:/**"]),
        change("scopes", ["read:/**"]),
        change("expires_at", LATE + 1),
        change("nonce", "another"),
        change("audience", list(PUBLIC)),
        change("issuer", list(PUBLIC)),
        change("signature", b"\0" * 64),
        change("version", 2),
        change("version", True),
        change("proofs", []),
        lambda found: found["proofs"][0].update(scopes=["admin:/**"]),
        lambda found: found["proofs"][0].update(issuer=list(OTHER_PUBLIC)),
        lambda found: found["chain"][0].update(expires_at=LATE + 5),
        lambda found: found["chain"][0].update(nonce="another"),
        lambda found: found["chain"][0].update(audience=list(OTHER_PUBLIC)),
        lambda found: found["chain"].append({"nonce": "x", "expires_at": LATE}),
        lambda found: found.update(chain="x"),
        lambda found: found.update(proofs=[1]),
        lambda found: found.update(proofs=found["proofs"] * 6),
    ],
)
def test_whatever_is_altered_is_noticed(alter: Callable[[dict[str, Any]], None]) -> None:
    found = unpacked(capability.encode(child()))
    alter(found)
    refused(packed(found))


def test_a_delegation_is_never_wider() -> None:
    root = capability.create(SEED, ["write:/x/*", "read:/y/**"], LATE)
    for scopes in (["write:/x/**"], ["admin:/x/a"], ["write:/y/a"], ["read:/**"], ["read:/z"], ["read:/x/**"]):
        with pytest.raises(CapabilityError, match="wider"):
            capability.delegate(root, OTHER, scopes, LATE)
    narrower = capability.delegate(root, OTHER, ["write:/x/a", "read:/y/b/**"], LATE)
    assert capability.verify(capability.encode(narrower), ANCHORS, NOW).leaf.scopes == ("write:/x/a", "read:/y/b/**")


def test_an_audience_binds_the_next_issuer() -> None:
    root = capability.create(SEED, ["read:/**"], LATE, audience=OTHER_PUBLIC)
    assert capability.verify(capability.encode(capability.delegate(root, OTHER, ["read:/a"], LATE)), ANCHORS, NOW)
    with pytest.raises(CapabilityError, match="not made for"):
        capability.delegate(root, THIRD, ["read:/a"], LATE)


def test_time_and_depth() -> None:
    token = capability.create(SEED, ["read:/**"], NOW)
    assert capability.verify(capability.encode(token), ANCHORS, NOW)  # that second itself is still good
    with pytest.raises(Expired):
        capability.verify(capability.encode(token), ANCHORS, NOW + 1)
    chain = capability.create(SEED, ["read:/**"], LATE)
    for _ in range(MAX_DEPTH):
        chain = capability.delegate(chain, OTHER, ["read:/**"], LATE)
    assert capability.verify(capability.encode(chain), ANCHORS, NOW).depth == MAX_DEPTH
    with pytest.raises(CapabilityError, match="no further"):
        capability.delegate(chain, OTHER, ["read:/**"], LATE)
    with pytest.raises(CapabilityError, match="times"):
        capability.verify(capability.encode(chain), ANCHORS, NOW, max_depth=MAX_DEPTH - 1)


def test_an_unknown_root_is_refused() -> None:
    assert "trust_anchors" in refused(ROOT, [OTHER_PUBLIC])
    assert "trust_anchors" in refused(ROOT, [])
    # Delegating makes nobody an anchor.
    assert "trust_anchors" in refused(capability.encode(capability.create(OTHER, ["read:/**"], LATE)))


@given(st.one_of(st.binary(max_size=200), st.just(b"\x91" * 5000), st.just(b"\xdf\xff\xff\xff\xff")))
def test_bad_bytes_are_a_sentence(data: bytes) -> None:
    refused("cap_" + base64.urlsafe_b64encode(data).decode().rstrip("="))


def test_a_megabyte_is_a_sentence() -> None:
    assert "longer than" in refused("cap_" + "A" * 1_000_000)
    assert "malformed" in refused("cap_%%%")


def test_keys_as_people_write_them() -> None:
    assert capability.read_key(capability.key_text(PUBLIC)) == PUBLIC
    assert capability.read_key("ed25519:" + PUBLIC.hex()) == PUBLIC
    for wrong in (PUBLIC.hex(), "did:key:z6Mk", "ed25519:00", "", "did:key:z" + "0" * 48):
        with pytest.raises(CapabilityError):
            capability.read_key(wrong)
