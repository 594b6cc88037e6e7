"""`clasp-edge journal ...`: looks into the journal of a router that may be running, and mends what it is not using.

Exit status: 0 done, 1 the journal is damaged (`verify`) or what was given is wrong, 2 it cannot be read or is in use.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from clasp_edge.cli import audit
from clasp_edge.cli.output import is_of_output
from clasp_edge.cli.status_text import printable
from clasp_edge.config.listen import Listen
from clasp_edge.config.model import Config
from clasp_edge.devices.values import use_in_dataplane
from clasp_edge.journal import import_export, tools
from clasp_edge.journal.errors import Damaged, Unavailable
from clasp_edge.journal.format import Record
from clasp_edge.journal.import_export import lines_of
from clasp_edge.journal.journal import DIRECTORY
from clasp_edge.journal.lock import InUse
from clasp_edge.journal.probe import probe
from clasp_edge.text_file import lines_from, no_text
from clasp_edge.wire import Error, Hello, Publish, Qos, Set, decode, encode
from clasp_edge.wire.pattern import Pattern, PatternError

EXIT_UNREADABLE = 2
EXIT_NOT_REACHED = 3
POLL_S = 0.3
PROGRESS_S = 1.0
CONNECT_TIMEOUT_S = 5.0
TAKES_NOTHING_S = 60.0
"""Who is slow to take what is replayed is waited for, but not a router that hangs."""


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Carry out one action; returns the exit status."""
    use_in_dataplane()  # of what came by MQTT, the value may not be made yet
    directory = config.data_dir / DIRECTORY
    action: Callable[[argparse.Namespace, Config, Path], int] = {
        "stat": _stat, "tail": _tail, "dump": _dump, "replay": _replay, "compact": _compact, "verify": _verify,
        "export": _export, "import": _import, "audit": audit.show,
    }[arguments.action]  # fmt: skip
    # A damaged file can kill whoever reads it: LMDB follows what its pages say, and may be led out of the map.
    return in_child(lambda: _carried_out(action, arguments, config, directory), directory)


def _carried_out(
    action: Callable[[argparse.Namespace, Config, Path], int],
    arguments: argparse.Namespace,
    config: Config,
    directory: Path,
) -> int:
    try:
        return action(arguments, config, directory)
    except PatternError as error:
        print(f"clasp-edge: {error}", file=sys.stderr)
        return 1
    except Damaged as error:
        print(f"clasp-edge: the journal in {directory} is damaged: {error}", file=sys.stderr)
        return 1
    except (Unavailable, InUse) as error:
        print(f"clasp-edge: {error}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError as error:
        if is_of_output(error):
            raise
        print(f"clasp-edge: {error.filename or directory}: {error.strerror or error}", file=sys.stderr)
    return 2


def in_child(work: Callable[[], int], directory: Path) -> int:
    """The exit status of `work`, done in a process of its own; 1 with a sentence if that was killed by what it read."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = EXIT_UNREADABLE
        try:
            status = work()
            sys.stdout.flush()
        except BrokenPipeError:  # `journal dump | head`
            status = 0
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    while True:
        try:
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            break
        except KeyboardInterrupt:  # the child has it too, and ends
            continue
    if ended not in (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT):
        return ended if ended >= 0 else 128 - ended
    name = signal.Signals(-ended).name
    print(f"clasp-edge: the journal in {directory} is damaged: reading it ended with {name}", file=sys.stderr)
    return 1


class _Progress:
    """A line on standard error that is rewritten once in a while, where somebody may be looking."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next_s = time.monotonic() + PROGRESS_S
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + PROGRESS_S
        self._shown = True
        print(f"\r{self._what}: {done} of {total}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print(file=sys.stderr)


def _tell_damage(number: int, why: str) -> None:
    print(f"clasp-edge: the block that begins with record {number} is passed over: {why}", file=sys.stderr)


def _pattern(text: str | None) -> Pattern | None:
    return Pattern(text.encode()) if text else None


def _when(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) + f".{int(time_s % 1 * 1000):03d}"


def _show(record: Record, as_json: bool) -> None:
    described = tools.describe(record)
    if as_json:
        print(json.dumps(described))
        return
    clock = " " if record.synchronised else "?"
    value = json.dumps(described.get("value", described.get("samples")))
    revision = f" r{described['revision']}" if "revision" in described else ""
    signal, address, when = described["signal"], described["address"], _when(described["time_s"])
    line = f"{record.number:>9} {when}{clock} {signal:8} {address} = {value}{revision}"
    print(printable(f"{line}  {record.writer}"))


def _stat(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    found = tools.statistics(directory)
    if arguments.json:
        print(json.dumps(found))
        return 0
    print(f"journal     {directory}")
    print(f"mode        {config.journal.mode} (as configured)")
    print(f"file        {found['file_bytes'] / 1e6:.1f} MB, {found['blocks']} blocks")
    print(f"params      {found['params']}, {found['param_bytes'] / 1e6:.1f} MB")
    count = found["log_last"] - found["log_first"] + 1 if found["log_last"] else 0
    print(f"log         {count} records, {found['log_bytes'] / 1e6:.1f} MB")
    if count:
        print(f"            {found['log_first']} to {found['log_last']}")
        print(f"            {_when(found['log_from_s'])} to {_when(found['log_to_s'])}")
        print(
            f"clock       {'synchronised' if found['clock_synchronised'] else 'not synchronised'} at the newest record"
        )
    print(f"starts      {found['starts']}")
    return 0


def _tail(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    pattern = _pattern(arguments.pattern)
    newest = tools.last_record(directory)
    # Backwards in growing steps, until enough match.
    step = max(arguments.n, 1)
    while True:
        first = max(0, newest - step + 1)
        found = tools.log_records(directory, first, damaged=_tell_damage)
        wanted = deque(tools.matching(found, pattern), maxlen=max(arguments.n, 0))
        if len(wanted) >= arguments.n or first == 0:
            break
        step *= 8
    for record in wanted:
        newest = max(newest, record.number)
        _show(record, arguments.json)
    while arguments.follow:
        time.sleep(POLL_S)
        for record in tools.log_records(directory, newest + 1):
            newest = record.number
            for shown in tools.matching([record], pattern):
                _show(shown, arguments.json)
        sys.stdout.flush()
    return 0


def _dump(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    left = arguments.limit
    progress = None if sys.stdout.isatty() else _Progress("dump")
    found = tools.log_records(directory, arguments.first, progress, _tell_damage)
    for record in tools.matching(found, _pattern(arguments.pattern)):
        if left is not None:
            if left <= 0:
                break
            left -= 1
        _show(record, arguments.json)
    if progress is not None:
        progress.end()
    return 0


def _replay(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    # What is there now: a router that is told its own log adds to it.
    newest = tools.last_record(directory)
    where = Listen(*arguments.to)
    try:
        link = socket.create_connection(arguments.to, CONNECT_TIMEOUT_S)
        answers = _greet(link, arguments.token)
    except (OSError, ValueError) as error:
        said = "nothing is answered" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or error
        print(f"clasp-edge: {where}: {said}; a replay goes to a router's tcp.listen", file=sys.stderr)
        return EXIT_NOT_REACHED
    pattern = _pattern(arguments.pattern)
    progress = _Progress("replay")
    sent = 0
    with link:
        began_s, first_us = time.monotonic(), None
        for record in tools.matching(tools.log_records(directory, arguments.first, progress, _tell_damage), pattern):
            if record.number > newest or (arguments.limit is not None and sent >= arguments.limit):
                break
            first_us = record.wall_us if first_us is None else first_us
            if arguments.speed > 0:
                due_s = began_s + (record.wall_us - first_us) / 1e6 / arguments.speed
                time.sleep(max(0.0, due_s - time.monotonic()))
            message = decode(record.frame)[1]
            assert isinstance(message, Set | Publish)
            if isinstance(message, Set):
                # As a new write: the recorded revision would make it conflict with what is there.
                message = Set(address=message.address, value=message.value)
            try:
                _send(link, encode(message, qos=Qos.FIRE))
            except OSError as error:
                progress.end()
                lost = "nothing is taken any more" if isinstance(error, TimeoutError) else "the connection was lost"
                print(f"clasp-edge: {where}: {lost}, after {sent} messages", file=sys.stderr)
                return EXIT_NOT_REACHED
            sent += 1
        problems = _errors_among(answers, link)
    progress.end()
    print(f"{sent} messages sent" + "".join(f"\nrefused: {text}" for text in problems))
    return 1 if problems else 0


def _send(link: socket.socket, frame: bytes) -> None:
    link.sendall(struct.pack(">I", len(frame)) + frame)


def _greet(link: socket.socket, token: str) -> bytearray:
    """HELLO, and WELCOME; the beginning of what follows it. Raises OSError, ValueError for another answer."""
    _send(link, encode(Hello(version=1, name="clasp-edge journal", token=token or None)))
    data = bytearray()
    while (frame := _first_frame(data)) is None:
        piece = link.recv(1 << 16)
        data += piece
        if not piece or data[0]:  # longer than any frame: another protocol
            raise ValueError("what listens there is no CLASP over TCP")
    answer = decode(frame)[1]
    if isinstance(answer, Error):
        raise ValueError(f"{answer.message} (code {answer.code})")
    link.settimeout(TAKES_NOTHING_S)
    return data


def _first_frame(data: bytearray) -> bytes | None:
    """Taken off the beginning, if all of it is there."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 or len(data) < 4 + size:
        return None
    frame = bytes(data[4 : 4 + size])
    del data[: 4 + size]
    return frame


def _errors_among(data: bytearray, link: socket.socket) -> Sequence[str]:
    """The errors among what the router has answered, of which `data` is the beginning; at most five different ones."""
    link.shutdown(socket.SHUT_WR)
    link.settimeout(CONNECT_TIMEOUT_S)
    try:
        while piece := link.recv(1 << 16):
            data += piece
    except OSError:
        pass
    found: dict[str, None] = {}
    while len(found) < 5 and (frame := _first_frame(data)) is not None:
        message = decode(frame)[1]
        if isinstance(message, Error):
            found[f"{message.code} {message.message}"] = None
    return list(found)


def _compact(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    before, after = tools.compact(config.data_dir, directory)
    print(f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now")
    return 0


def _verify(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    if not (directory / "data.mdb").exists():
        raise Unavailable(f"there is no journal in {directory}")
    blocks = 0
    progress = _Progress("verify: blocks of params")

    def count(block: bytes) -> None:
        nonlocal blocks
        blocks += 1
        progress(blocks, blocks)

    found = probe(directory, count, thorough_s=float("inf"), readonly=True, in_use=True)
    progress.end()
    if found.damaged:
        shown = ", ".join(map(str, found.damaged[:10])) + (", ..." if len(found.damaged) > 10 else "")
        raise Damaged(
            f"{len(found.damaged)} of {found.blocks} blocks of the log are passed over when it is read: those that "
            f"begin with record {shown}. The params are sound"
        )
    print(f"ok: {blocks} blocks of params, {found.blocks} blocks with {found.records} log records")
    return 0


def _export(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    if arguments.file is None:
        for line in import_export.export_params(directory):
            print(line)
        return 0
    count = 0
    with open(arguments.file, "x", encoding="utf-8") as file:
        for line in import_export.export_params(directory):
            file.write(line + "\n")
            count += 1
    print(f"{count} params")
    return 0


def _import(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    progress = _Progress("import")
    try:
        if arguments.file is None:
            lines = lines_of(lines_from(sys.stdin))
            count = import_export.import_params(config.data_dir, directory, lines, progress)
        else:
            with open(arguments.file, "rb") as file:
                lines = lines_of(lines_from(file))
                count = import_export.import_params(config.data_dir, directory, lines, progress)
    except UnicodeDecodeError as error:
        print(f"clasp-edge: {arguments.file or 'standard input'}: {no_text(error)}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"clasp-edge: {error}", file=sys.stderr)
        return 1
    progress.end()
    print(f"{count} params")
    return 0
