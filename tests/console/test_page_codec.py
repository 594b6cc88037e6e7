"""The page's own codec under Node: what it reads against the recorded vectors, what it writes against ours, and what
the page's connection keeps of values that nobody expects."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from support.needs import program
from support.page_modules import page_modules
from support.wire_vectors import all_vectors

from clasp_edge import wire
from clasp_edge.wire import SignalType, Ttl, TtlMode

READ = {"WELCOME", "SET", "PUBLISH", "SNAPSHOT", "ACK", "ERROR", "PONG"}
"""What a router sends to the page."""


def run(*asked: dict[str, Any]) -> list[Any]:
    """The answers of `codec.mjs`."""
    program_ = [program("node", "node"), str(Path(__file__).parent / "codec.mjs"), str(page_modules() / "codec.js")]
    done = subprocess.run(
        program_, input="\n".join(map(json.dumps, asked)) + "\n", capture_output=True, text=True, check=True, timeout=60
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def plain(thing: Any) -> Any:
    """Tagged values as Python's own; the two ways of tagging are told apart by nothing that matters."""
    if isinstance(thing, dict):
        if "$float" in thing:
            return float(thing["$float"])
        if "$int" in thing:
            return int(thing["$int"])
        return {key: plain(part) for key, part in sorted(thing.items())}
    return [plain(part) for part in thing] if isinstance(thing, list) else thing


def without(message: dict[str, Any], *names: str) -> dict[str, Any]:
    """The message without these fields; params without what the page adds for itself."""
    kept = {key: value for key, value in message.items() if key not in names}
    if "params" in kept:
        kept["params"] = [{key: value for key, value in param.items() if key != "kind"} for param in kept["params"]]
    return kept


def test_it_reads_what_routers_send() -> None:
    vectors = [
        vector
        for vector in all_vectors()
        if vector.section != "invalid" and vector.entry["encoding"] == "v3" and vector.entry["message"]["type"] in READ
    ]
    assert len(vectors) > 100
    answers = run(*({"hex": vector.frame.hex()} for vector in vectors))
    ignored = ("features", "token", "ttl", "kind")
    for vector, answer in zip(vectors, answers, strict=True):
        expected = without(plain(vector.entry["message"]), *ignored)
        # repr, because 1, 1.0 and true are different values, and nan is not equal to itself.
        assert repr(plain(without(answer, *ignored))) == repr(plain(expected)), vector.name


def test_broken_frames_are_errors_and_end_nothing() -> None:
    vectors = [vector for vector in all_vectors() if vector.section == "invalid" and vector.entry["encoding"] == "v3"]
    answers = run(*({"hex": vector.frame.hex()[:4000]} for vector in vectors), {"text": "1"})
    assert answers[-1] == "1"


def test_it_writes_what_ours_reads() -> None:
    sent: list[tuple[dict[str, Any], str | None, wire.Message]] = [
        (
            {"type": "HELLO", "name": "pägé", "token": "t", "features": ["param", "event", "bare"]},
            None,
            wire.Hello(1, "pägé", ("param", "event", "bare"), token="t"),
        ),
        ({"type": "GET", "address": "/a"}, None, wire.Get("/a")),
        ({"type": "PING"}, None, wire.Ping()),
        ({"type": "UNSUBSCRIBE", "id": 7}, None, wire.Unsubscribe(7)),
        (
            {"type": "REPLAY", "pattern": "/a/**", "from": 1704067200000000, "limit": 9},
            None,
            wire.Replay("/a/**", from_=1704067200000000, limit=9),
        ),
        (
            {"type": "SET", "address": "/gone", "value": None, "ttl": 0x8000_0000},
            None,
            wire.Set("/gone", None, ttl=Ttl(TtlMode.ABSOLUTE, 0)),
        ),
    ]
    for text, value in (
        ("1", 1), ("1.0", 1.0), ("-0.5e1", -5.0), ("12345678901234567", 12345678901234567), ("true", True),
        ('"1.0 \\u00fc"', "1.0 ü"), ('[1, 1.0, {"a 1": null}]', [1, 1.0, {"a 1": None}]),
        ("123456789012345678901", 123456789012345678901.0),
    ):  # fmt: skip
        sent.append(({"type": "SET", "address": "/ä"}, text, wire.Set("/ä", value)))
        event = wire.Publish("/e", signal=SignalType.EVENT, value=value)
        sent.append(({"type": "PUBLISH", "signal": "event", "address": "/e"}, text, event))
    answers = run(*({"message": message, "value": text} if text else {"message": message} for message, text, _ in sent))
    for (message, _, expected), answer in zip(sent, answers, strict=True):
        found = wire.decode(bytes.fromhex(answer))[1]
        assert repr(found) == repr(wire.decode(wire.encode(expected))[1]), message


def test_values_come_back_as_they_were_typed() -> None:
    texts = ["1", "1.0", "-0.0", "0.1", "9007199254740993", '"a \\"1\\" 2"', '{"a": [1.0, 2, null]}', "1e+300", "-5"]
    assert run(*({"text": text} for text in texts)) == texts
    for wrong in ("1.", "01", "--1", "{", "'a'", "nul", "1 2"):
        [answer] = run({"text": wrong})
        assert "SyntaxError" in answer["failed"], wrong


def taken(*messages: wire.Message) -> dict[str, Any]:
    """What the page's connection keeps of these (`link.mjs`)."""
    here = Path(__file__).parent / "link.mjs"
    lines = "".join(wire.encode(message).hex() + "\n" for message in messages)
    modules = [str(page_modules() / name) for name in ("codec.js", "link.js")]
    program_ = [program("node", "node"), str(here), *modules]
    done = subprocess.run(program_, input=lines, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_maps_of_any_keys_are_kept_and_are_no_elements_of_the_page() -> None:
    element: dict[str, Any] = {
        "type": "b",
        "props": {},
        "constructor": None,
        "__proto__": None,
        "toString": 1,
        "valueOf": 2,
    }
    sent: dict[str, Any] = {"/map": {"a": 1}, "/list": [{"a": 1.0}], "/element": element, "/after": 5}
    found = taken(*(wire.Set(address, value) for address, value in sent.items()))
    kept = {address: (text, number) for address, text, number, _ in found["values"]}
    assert kept["/map"] == ('{"a": 1}', None)  # not a number: JSON has no word for that
    assert kept["/after"] == ("5", 5)
    assert kept.keys() == sent.keys()
    # Preact takes an object for an element where this is undefined.
    assert all(constructed for *_, constructed in found["values"])


def test_a_box_of_a_strange_name_is_one_like_any() -> None:
    found = taken(
        wire.Set("/clasp-edge/peers/__proto__/name", "strange"),
        wire.Set("/clasp-edge/peers/box/__proto__", {"state": "up"}),
        wire.Set("/clasp-edge/peers/box/state", "down"),
    )
    expected = [["__proto__", '{"state": "up"}'], ["state", "down"]]
    assert found["peers"] == [["__proto__", [["name", "strange"]]], ["box", expected]]
    assert found["strange"] is None
