"""Params as lines of JSON, out of a store and into one: `journal export` and `journal import`.

An export may have been edited, or made by somebody else: a line is checked against everything that a client's SET is
checked against, and nothing of a file with a wrong line is taken.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import lmdb

from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.dataplane.scan import measure_value
from clasp_edge.journal.errors import Unavailable, reason
from clasp_edge.journal.format import (
    DEFAULT_QOS,
    LARGEST_QOS,
    RUN_KEY,
    STATE_PREFIX,
    Param,
    Raw,
    make_state_block,
    state_key,
)
from clasp_edge.journal.lock import DirectoryLock, InUse
from clasp_edge.journal.queries import last_header, noted_run
from clasp_edge.journal.store import DATA_FILE, prepare
from clasp_edge.journal.tools import map_size, state_params
from clasp_edge.wire.address import validate_address
from clasp_edge.wire.limits import MAX_PAYLOAD_BYTES
from clasp_edge.wire.plain import plain

Progress = Callable[[int, int], None]

PARAMS_PER_BLOCK = 256

LARGEST_RAW = (1 << 24) + 65_536
"""Bytes of an MQTT packet (`mqtt.max_packet_kib`)."""

LARGEST_REVISION = (1 << 63) - 1
"""A param gets a new one with each write, and must never run out of them."""

MAX_WRITER_BYTES = 36
MAX_LINE_CHARACTERS = 24 << 20
"""More than the longest line of an export: an address, a value and an MQTT message's own bytes, in base64."""

_SNAPSHOT_OVERHEAD_BYTES = 61
"""What a param takes in a snapshot of its own beside address and value (dataplane/state.pyx)."""

_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1


def export_params(directory: Path) -> Iterator[str]:
    """One line of JSON for each param: everything that a restore needs, and the value for people."""
    for param in state_params(directory).values():
        line: dict[str, Any] = {
            "address": param.address.decode(),
            "value": plain(param.value),
            "type": param.value_type,
            "data": base64.b64encode(param.data).decode(),
            "revision": param.revision,
            "writer": param.writer,
            "written_us": param.written_us,
            "ttl": param.ttl,
            "deadline_us": param.deadline_us,
            "remaining_ms": param.remaining_ms,
            "qos": param.qos,
        }
        if param.raw is not None:
            line["mqtt"] = {
                "properties": base64.b64encode(param.raw.properties).decode(),
                "payload": base64.b64encode(param.raw.payload).decode(),
            }
        yield json.dumps(line)


def lines_of(file: TextIO) -> Iterator[str]:
    """The lines of a file, none of which fills the memory. Raises ValueError."""
    number = 0
    while line := file.readline(MAX_LINE_CHARACTERS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARACTERS:
            raise ValueError(f"line {number}: not a param of an export (longer than {MAX_LINE_CHARACTERS} characters)")
        yield line


def read_export(lines: Iterable[str]) -> Iterator[Param]:
    """The params of an export. Raises ValueError naming the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _param(json.loads(line))
        except KeyError as error:
            raise ValueError(f"line {number}: not a param of an export (no {error})") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"line {number}: not a param of an export ({error})") from None


def _param(item: dict[str, Any]) -> Param:
    if not isinstance(item, dict):
        raise ValueError("a line is a JSON object")
    address = _text(item, "address").encode()
    validate_address(address)
    if address.startswith(RESERVED):
        raise ValueError(f"address: {RESERVED.decode()} is the router's own")
    data = base64.b64decode(_text(item, "data"), validate=True)
    value_type = _number(item, "type", 255)
    size = measure_value(value_type, data)
    if size != len(data):
        raise ValueError("type, data: no value")
    if len(address) + len(data) + _SNAPSHOT_OVERHEAD_BYTES > MAX_PAYLOAD_BYTES:
        raise ValueError("data: the value is too large for a param")
    writer = _text(item, "writer")
    if len(writer.encode()) > MAX_WRITER_BYTES:
        raise ValueError(f"writer: longer than {MAX_WRITER_BYTES} bytes")
    revision = _number(item, "revision", LARGEST_REVISION)
    if not revision:
        raise ValueError("revision: begins with 1")
    return Param(
        address, revision, writer, _number(item, "written_us", _U64), _number(item, "ttl", _U32),
        _number(item, "deadline_us", _U64), _number(item, "remaining_ms", _U64), value_type, data,
        _number(item, "qos", LARGEST_QOS) if "qos" in item else DEFAULT_QOS,
        _raw(item["mqtt"]) if "mqtt" in item else None,
    )  # fmt: skip


def _text(item: dict[str, Any], name: str) -> str:
    text = item[name]
    if not isinstance(text, str):
        raise ValueError(f"{name}: is text")
    return text


def _number(item: dict[str, Any], name: str, largest: int) -> int:
    number = item[name]
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= largest:
        raise ValueError(f"{name}: is a whole number from 0 to {largest}")
    return number


def _raw(item: dict[str, Any]) -> Raw:
    if not isinstance(item, dict):
        raise ValueError("mqtt: is an object")
    raw = Raw(*(base64.b64decode(_text(item, name), validate=True) for name in ("properties", "payload")))
    if sum(map(len, raw)) > LARGEST_RAW:
        raise ValueError("mqtt: too large")
    return raw


def import_params(data_dir: Path, directory: Path, lines: Iterable[str], progress: Progress | None = None) -> int:
    """Put the params of an export into the store, over those that are there. Raises InUse, ValueError, Unavailable."""
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        lock = DirectoryLock(data_dir)
    except InUse as error:
        text = f"{error}: stop it before the import, it would write its own params over the imported ones"
        raise InUse(text) from None
    try:
        # One param has one line in the store, whatever the file says how often.
        found = list({param.address: param for param in read_export(lines)}.values())
        directory.mkdir(parents=True, exist_ok=True)
        size = max(1 << 28, sum(len(p.data) + sum(map(len, p.raw or ())) for p in found) * 4)
        if (directory / DATA_FILE).exists():
            size = max(size, map_size(directory) * 2)
        with lmdb.open(str(directory), map_size=size, max_dbs=0) as env, env.begin(write=True) as txn:
            _put(txn, found, progress)
    except lmdb.Error as error:
        raise Unavailable(reason(error)) from None
    finally:
        lock.release()
    return len(found)


def _put(txn: lmdb.Transaction[Any], found: list[Param], progress: Progress | None) -> None:
    prepare(txn)
    newest = last_header(txn, STATE_PREFIX)
    run = max(noted_run(txn), newest.run if newest else 0) + 1
    txn.put(RUN_KEY, run.to_bytes(8, "big"))
    number = newest.number + 1 if newest else 1
    before = newest.before + newest.size if newest else 0
    at = 0
    while at < len(found):
        piece: list[Param] = []
        room = 1 << 16
        while at < len(found) and len(piece) < PARAMS_PER_BLOCK and (room > 0 or not piece):
            room -= len(found[at].data) + len(found[at].address) + sum(map(len, found[at].raw or ())) + 100
            piece.append(found[at])
            at += 1
        block = make_state_block(
            piece, number=number, run=run, base=newest.base if newest else 1,
            before=before, wall_us=time.time_ns() // 1000,
        )  # fmt: skip
        txn.put(state_key(number), block)
        number += 1
        before += len(block)
        if progress is not None:
            progress(at, len(found))
