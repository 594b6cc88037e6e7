"""The commands that talk to a router as a client: get, set, emit, unset, watch, bundle, replay, backup, restore, bench.

Exit status 0 done, 1 the router says no or there is nothing, 3 the router was not reached. An OSError about what is
printed is left to `cli.main`.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clasp_edge import wire
from clasp_edge.cli.output import is_of_output
from clasp_edge.cli.remote import RefusedByRouter, Remote, Unreachable, matcher
from clasp_edge.cli.status_text import printable
from clasp_edge.text_file import no_text, read_text, text_of
from clasp_edge.wire.plain import meant, plain

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_NOT_REACHED = 3

LATEST_S = 9e12
"""A time beyond it has no form on the wire."""


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of the commands."""
    try:
        token = arguments.token
        if arguments.token_file:
            token = _read(arguments.token_file).strip()
        command = _COMMANDS[arguments.command]
        url = found_url(arguments)
        with Remote(url, token, pin=arguments.tls_pin, ca=arguments.tls_ca) as remote:
            return int(command(remote, arguments))
    except Unreachable as fault:
        print(f"clasp-edge: {fault}", file=sys.stderr)
        return EXIT_NOT_REACHED
    except RefusedByRouter as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and is_of_output(error):
            raise
        print(f"clasp-edge: {said_of(error)}", file=sys.stderr)
        return EXIT_REFUSED


def said_of(error: Exception) -> str:
    """A sentence for a file or a host that is not there, without the system's number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def found_url(arguments: argparse.Namespace) -> str:
    """Where the router is; found in the local network where it was named. Raises Unreachable."""
    url = str(arguments.url)
    if not arguments.name and not url.startswith("discover:"):
        return url
    from clasp_edge.cli.discover import find_router

    return find_router(arguments.name or url.removeprefix("discover:"), arguments)


def _lines_in(text: str) -> Iterable[str]:
    """Its lines, which end at line feeds alone: in a value there may be what else ends lines for Python, as U+2028."""
    return io.StringIO(text)


def _read(path: str) -> str:
    """What is in a text file; "-" is standard input. Raises OSError, ValueError with the file's name."""
    try:
        if path == "-":
            return text_of(sys.stdin)
        return read_text(Path(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {no_text(error)}") from None


def value_of(text: str) -> Any:
    """A value as it is typed: JSON, with tags for what that has no words for (wire/plain.py), else text."""
    try:
        return meant(json.loads(text))
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    except ValueError:
        return text


def shown(value: Any) -> str:
    """A value as it could be typed. A text comes from anybody: what could move the cursor is escaped as JSON does."""
    text = json.dumps(plain(value), ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _line(found: dict[str, Any]) -> str:
    return shown({key: value for key, value in found.items() if value is not None or key == "value"})


# ---- single values ----


def _get(remote: Remote, arguments: argparse.Namespace) -> int:
    params: Iterable[wire.ParamValue]
    if "*" in arguments.pattern:
        params = sorted(remote.state(arguments.pattern), key=lambda param: param.address)
    else:
        one = remote.get(arguments.pattern)
        params = [one] if one is not None else []
    for param in params:
        if arguments.json:
            described = {"address": param.address, "value": param.value, "revision": param.revision}
            print(_line(described | {"writer": param.writer, "time": _seconds(param.timestamp)}))
        elif "*" in arguments.pattern:
            print(f"{printable(param.address)} {shown(param.value)}")
        else:
            print(shown(param.value))
    if not params:
        print(f"clasp-edge: there is no param {arguments.pattern}", file=sys.stderr)
        return EXIT_REFUSED
    return EXIT_OK


def _seconds(timestamp: int | None) -> float | None:
    return None if timestamp is None else timestamp / 1e6


def _set(remote: Remote, arguments: argparse.Namespace) -> int:
    ttl = None if arguments.ttl is None else wire.Ttl(wire.TtlMode.ABSOLUTE, arguments.ttl)
    remote.acknowledged(wire.Set(arguments.address, value_of(arguments.value), lock=arguments.lock, ttl=ttl))
    if arguments.lock:
        print("locked; Ctrl-C lets go", file=sys.stderr)
        while remote.watched(None) is not None:
            pass
    return EXIT_OK


def _emit(remote: Remote, arguments: argparse.Namespace) -> int:
    signal = {"event": wire.SignalType.EVENT, "stream": wire.SignalType.STREAM, "gesture": wire.SignalType.GESTURE}
    value = wire.ABSENT if arguments.value is None else value_of(arguments.value)
    remote.send(wire.Publish(arguments.address, signal[arguments.signal], value))
    return _said_nothing(remote)


def _said_nothing(remote: Remote) -> int:
    """Whether the router took what was sent: it answers in order, and a PONG means that no ERROR came before."""
    remote.send(wire.Ping())
    remote.wait_for(wire.Pong)
    return EXIT_OK


def _unset(remote: Remote, arguments: argparse.Namespace) -> int:
    status = EXIT_OK
    for address in arguments.addresses:
        if remote.get(address) is None:
            print(f"clasp-edge: there is no param {address}", file=sys.stderr)
            status = EXIT_REFUSED
            continue
        # A lifetime that is over: the router forgets it, and tells whoever has to forget it too.
        remote.acknowledged(wire.Set(address, None, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 0)))
        left = remote.get(address)
        if left is not None and left.value is None:
            print(f"clasp-edge: {address}: this router forgets no params; it is null now", file=sys.stderr)
            status = EXIT_REFUSED
    return status


# ---- watching ----


def _watch(remote: Remote, arguments: argparse.Namespace) -> int:
    plain_wanted = arguments.json or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    colours = not plain_wanted and sys.stdout.isatty()
    matchers = [matcher(pattern) for pattern in arguments.patterns]
    for number, pattern in enumerate(arguments.patterns, 1):
        remote.send(wire.Subscribe(number, pattern))
    ends_s = None if arguments.for_s is None else time.monotonic() + arguments.for_s
    left = arguments.count
    began = time.monotonic()
    seen: set[str] = set()
    while left is None or left > 0:
        wait_s = None if ends_s is None else max(0.0, ends_s - time.monotonic())
        message = remote.watched(wait_s)
        if message is None:
            break
        if isinstance(message, wire.Error):
            raise RefusedByRouter(message)
        if isinstance(message, wire.Snapshot):
            # The greeting's has everything, whatever was asked for; and each address is told once.
            fresh = [param for param in message.params if param.address not in seen]
            message.params = [param for param in fresh if any(matches(param.address) for matches in matchers)]
            seen.update(param.address for param in message.params)
        for line in _lines(message, arguments, colours=colours, began=began, now=time.time()):
            print(line, flush=True)
            if left is not None:
                left -= 1
                if left <= 0:
                    break
    return EXIT_OK


def _lines(
    message: wire.Message, arguments: argparse.Namespace, *, colours: bool, began: float, now: float | None
) -> Iterable[str]:
    """The lines of a message that came `now`, or, None, of one that a replay brings: those come without their times."""
    if isinstance(message, wire.Snapshot):
        if not arguments.no_state and time.monotonic() - began < 60:
            for param in message.params:
                yield _told(now, "state", param.address, param.value, param.writer, arguments, colours=colours)
    elif isinstance(message, wire.Set):
        yield _told(now, "set", message.address, message.value, None, arguments, colours=colours)
    elif isinstance(message, wire.Publish):
        signal = message.signal.label if message.signal is not None else "event"
        value = None if message.value is wire.ABSENT else message.value
        yield _told(now, signal, message.address, value, None, arguments, colours=colours)


def _told(
    now: float | None,
    kind: str,
    address: str,
    value: Any,
    writer: str | None,
    arguments: argparse.Namespace,
    *,
    colours: bool,
) -> str:
    if arguments.json:
        time_s = None if now is None else round(now, 3)
        return _line({"time": time_s, "kind": kind, "address": address, "value": value, "writer": writer})
    clock = ""
    if now is not None:
        clock = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03} "
    if colours:
        return f"\x1b[2m{clock}\x1b[0m{kind:7} \x1b[36m{printable(address)}\x1b[0m {shown(value)}"
    return f"{clock}{kind:7} {printable(address)} {shown(value)}"


# ---- several at once ----


def _bundle(remote: Remote, arguments: argparse.Namespace) -> int:
    messages: list[wire.Message] = []
    for number, line in enumerate(_lines_in(_read(arguments.file)), 1):
        match line.strip().split(None, 2):
            case ["set", address, value]:
                messages.append(wire.Set(address, value_of(value)))
            case ["emit", address, *rest]:
                said = value_of(rest[0]) if rest else wire.ABSENT
                messages.append(wire.Publish(address, wire.SignalType.EVENT, said))
            case []:
                pass
            case [word, *_] if word.startswith("#"):
                pass
            case _:
                raise ValueError(f"line {number}: 'set ADDRESS VALUE' or 'emit ADDRESS [VALUE]'")
    timestamp = None if arguments.at is None else int(_when(arguments.at) * 1e6)
    remote.send(wire.Bundle(messages, timestamp=timestamp))
    return _said_nothing(remote)


def _when(text: str) -> float:
    """Unix time of "+2.5", "-60" or a number of seconds since 1970; before that nothing was."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) < LATEST_S:
        raise ValueError(f'"{text}" is no time; seconds from now such as +2.5 or -60, or Unix time')
    return max(0.0, time.time() + number if text.strip()[0] in "+-" else number)


def _replay(remote: Remote, arguments: argparse.Namespace) -> int:
    begins, ends = (None if at is None else int(_when(at) * 1e6) for at in (arguments.begins, arguments.ends))
    arguments.no_state = True
    for message in remote.replayed(wire.Replay(arguments.pattern, from_=begins, to=ends, limit=arguments.limit)):
        for line in _lines(message, arguments, colours=False, began=time.monotonic(), now=None):
            print(line)
    return EXIT_OK


def _backup(remote: Remote, arguments: argparse.Namespace) -> int:
    params = sorted(remote.state(arguments.pattern), key=lambda param: param.address)
    kept = [param for param in params if not param.address.startswith("/clasp-edge/")]
    if not kept:
        # A pattern that was mistyped must not cost the scene that is there.
        raise ValueError(f"there is no param {arguments.pattern}: nothing was written")
    lines = [_line({"address": param.address, "value": param.value}) + "\n" for param in kept]
    if arguments.file == "-":
        sys.stdout.writelines(lines)
        return EXIT_OK
    try:
        _write(Path(arguments.file), lines)
    except OSError as error:
        raise ValueError(f"{arguments.file}: {error.strerror or error}") from None
    print(f"{len(kept)} params in {arguments.file}")
    return EXIT_OK


def _write(path: Path, lines: list[str]) -> None:
    """All of it or nothing: a file that is there is replaced when the new one is whole. A device or a pipe is written
    to, a link stays one, and who may read the old one may read the new one. Raises OSError."""
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as out:
            out.writelines(lines)
        return
    path = path.resolve()
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        # Never one that is there: in a directory that others write to, it could be a link of theirs.
        with fresh.open("x", encoding="utf-8") as out:
            if path.exists():
                os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode))
            out.writelines(lines)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _restore(remote: Remote, arguments: argparse.Namespace) -> int:
    from clasp_edge.wire.pattern import Pattern

    if arguments.file == "-" and not arguments.yes and not arguments.dry_run:
        raise ValueError("restore - reads standard input, where nobody can be asked: add --yes or --dry-run")
    wanted: dict[str, Any] = {}
    pattern = Pattern(arguments.pattern.encode())
    for number, line in enumerate(_lines_in(_read(arguments.file)), 1):
        try:
            row = json.loads(line)
            address, value = row["address"], meant(row["value"])
            matches = pattern.matches(address.encode())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{arguments.file}: line {number} is no param") from None
        if matches:
            try:
                wire.encode(wire.Set(address, value))
            except ValueError as error:
                raise ValueError(f"{arguments.file}: line {number}: {error}") from None
            wanted[address] = value
    there = {param.address: param.value for param in remote.state(arguments.pattern)}
    changes = {address: value for address, value in wanted.items() if not _same(there.get(address, wire.ABSENT), value)}
    for address, value in changes.items():
        before = shown(there[address]) if address in there else "(none)"
        print(f"{printable(address)}: {before} -> {shown(value)}")
    print(f"{len(changes)} of {len(wanted)} params change")
    if arguments.dry_run or not changes:
        return EXIT_OK
    if not arguments.yes and not _agreed():
        return EXIT_REFUSED
    refused = 0
    for address, value in changes.items():
        try:
            remote.acknowledged_at_its_rate(wire.Set(address, value))
        except RefusedByRouter as refusal:
            # One that is locked does not keep the others from being set.
            refused += 1
            print(f"clasp-edge: {printable(address)}: {refusal}", file=sys.stderr)
    if refused:
        print(f"clasp-edge: {refused} of {len(changes)} params were not set", file=sys.stderr)
    return EXIT_REFUSED if refused else EXIT_OK


def _same(there: Any, wanted: Any) -> bool:
    """Of the same type as well: 1, 1.0 and true are three values."""
    return there is not wire.ABSENT and shown(there) == shown(wanted)


def _agreed() -> bool:
    if sys.stdin is None:
        return False
    print("set them? [y/N] ", end="", flush=True, file=sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes", "j", "ja")


LIMITED_S = 1.0
"""Without an answer: a router that is reached answers in far less."""


def _bench(remote: Remote, arguments: argparse.Namespace) -> int:
    address = f"/clasp-bench/{os.getpid()}"
    waits: list[float] = []
    for number in range(200):
        began = time.perf_counter()
        remote.acknowledged(wire.Set(address, number))
        waits.append(time.perf_counter() - began)
    waits.sort()
    sent = done = limited = 0
    ends = time.perf_counter() + arguments.seconds
    began = time.perf_counter()
    while time.perf_counter() < ends or done < sent:
        while sent - done < arguments.window and time.perf_counter() < ends:
            remote.send(wire.Set(address, sent))
            sent += 1
        message = remote.receive(LIMITED_S)
        if isinstance(message, wire.Error) and message.code != wire.ErrorCode.RATE_LIMITED:
            raise RefusedByRouter(message)
        if message is None:
            # Above its limit a router says so once for many: what it does not answer it has not taken.
            limited += sent - done
            done = sent
        elif isinstance(message, wire.Ack):
            done += 1
    rate = (done - limited) / (time.perf_counter() - began)
    time.sleep(1.1 if limited else 0)  # until there is room for one more
    remote.acknowledged(wire.Set(address, None, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 0)))
    print(f"one at a time  p50 {waits[100] * 1000:.2f} ms, p99 {waits[198] * 1000:.2f} ms")
    print(f"window {arguments.window:<6}  {rate:.0f} acknowledged SETs a second")
    if limited:
        print(f"the router's rate limit refused {limited} of {done} (limits.messages_per_second)")
    return EXIT_OK


_COMMANDS = {
    "get": _get,
    "set": _set,
    "emit": _emit,
    "unset": _unset,
    "watch": _watch,
    "bundle": _bundle,
    "replay": _replay,
    "backup": _backup,
    "restore": _restore,
    "bench": _bench,
}
