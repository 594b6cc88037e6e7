"""`clasp-edge osc send|dump` with python-osc, `clasp-edge mqtt pub|sub` with paho-mqtt.

Exit status 0 done, 1 the other side says no, 3 it was not reached or a library is missing.
"""

from __future__ import annotations

import argparse
import json
import queue
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from clasp_edge.cli.output import is_of_output
from clasp_edge.cli.status_text import printable
from clasp_edge.config.listen import parse_listen

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_NOT_REACHED = 3

WAIT_S = 5.0
LEASE_S = 60
RENEW_S = 20.0
"""A subscription by OSC is a lease (docs/devices.md)."""

LARGEST_PACKET = 65_536
CONTROL = b"/clasp/"


class Failed(Exception):
    """It cannot be done; the text says why."""


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of the commands."""
    actions = {"send": _osc_send, "dump": _osc_dump, "pub": _mqtt_pub, "sub": _mqtt_sub}
    try:
        return actions[arguments.action](arguments)
    except BrokenPipeError:
        raise
    except ImportError as error:
        print(f"clasp-edge: this command needs the library {error.name}: pip install '.[cli]'", file=sys.stderr)
        return EXIT_NOT_REACHED
    except (Failed, OSError) as error:
        if isinstance(error, OSError) and is_of_output(error):
            raise
        print(f"clasp-edge: {_said_of(error, arguments)}", file=sys.stderr)
        return EXIT_NOT_REACHED


def _said_of(error: Exception, arguments: argparse.Namespace) -> str:
    """A sentence with whom it is about, and without the system's number."""
    if not isinstance(error, OSError):
        return str(error)
    where = arguments.to if arguments.action == "send" else getattr(arguments, "router", None)
    said = error.strerror or str(error)
    return f"{where}: {said}" if where else said


def _at(text: str) -> tuple[str, int]:
    try:
        found = parse_listen(text)
    except ValueError as error:
        raise Failed(str(error)) from None
    if found is None:
        raise Failed('"off" is no address')
    return found.host or "127.0.0.1", found.port


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _osc_send(arguments: argparse.Namespace) -> int:
    from pythonosc.osc_message_builder import BuildError, OscMessageBuilder

    try:
        packet = _osc_message(OscMessageBuilder(arguments.address), arguments)
    except (BuildError, ValueError) as error:
        print(f"clasp-edge: it has no form in OSC: {printable(str(error))}", file=sys.stderr)
        return EXIT_REFUSED
    host, port = _at(arguments.to)
    with _udp(host) as sock:
        sock.sendto(packet, (host, port))
    return EXIT_OK


def _osc_message(message: Any, arguments: argparse.Namespace) -> bytes:
    """The packet that a builder of python-osc makes of the values. Raises BuildError, ValueError."""
    for text in arguments.values:
        value = _value(text)
        kind = None
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**31) <= value < 2**31:
            kind = message.ARG_TYPE_INT64
        message.add_arg(text if isinstance(value, dict) else value, kind)
    packet: bytes = message.build().dgram
    return packet


def _udp(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def _osc_dump(arguments: argparse.Namespace) -> int:
    from pythonosc.osc_message_builder import OscMessageBuilder

    listen = _at(arguments.listen)
    router = _at(arguments.router) if arguments.router else None
    began_s = time.monotonic()
    renewed_s = -RENEW_S
    left = arguments.count
    with _udp(router[0] if router else listen[0]) as sock:
        sock.bind(("::" if router and ":" in router[0] else listen[0], listen[1]))
        if router is None:
            print(f"listening on {listen[0]}:{sock.getsockname()[1]}", file=sys.stderr)
        while left is None or left > 0:
            now_s = time.monotonic() - began_s
            if arguments.for_s is not None and now_s >= arguments.for_s:
                break
            if router is not None and now_s - renewed_s >= RENEW_S:
                renewed_s = now_s
                for pattern in arguments.patterns:
                    ask = OscMessageBuilder("/clasp/subscribe")
                    ask.add_arg(pattern)
                    ask.add_arg(LEASE_S)
                    sock.sendto(ask.build().dgram, router)
            sock.settimeout(0.2)
            try:
                data, sender = sock.recvfrom(LARGEST_PACKET)
            except TimeoutError:
                continue
            if router is not None and data.startswith(CONTROL):
                # What the router says about the subscription, and not what it is about.
                if data.startswith(b"/clasp/error"):
                    print(printable("clasp-edge: " + " ".join(_osc_lines(data))), file=sys.stderr)
                continue
            for line in _osc_lines(data):
                print(printable(f"{sender[0]}:{sender[1]}  {line}"), flush=True)
                if left is not None:
                    left -= 1
    return EXIT_OK


def _osc_lines(data: bytes) -> Iterator[str]:
    from pythonosc.osc_packet import OscPacket, ParseError

    try:
        messages = OscPacket(data).messages
    except (ParseError, ValueError) as error:
        yield f"no OSC: {error}"
        return
    for timed in messages:
        message = timed.message
        values = " ".join(f"0x{each.hex()}" if isinstance(each, bytes) else json.dumps(each, default=str)
                          for each in message.params)  # fmt: skip
        yield f"{message.address} {values}".rstrip()


def _client(arguments: argparse.Namespace) -> tuple[Any, queue.SimpleQueue[str]]:
    """A paho client that is connected, and what has happened to it since as words."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    if arguments.user or arguments.password:
        client.username_pw_set(arguments.user or "token", arguments.password or None)
    happened: queue.SimpleQueue[str] = queue.SimpleQueue()
    client.on_connect = lambda client, userdata, flags, reason, properties: happened.put(str(reason))
    client.on_disconnect = lambda client, userdata, flags, reason, properties: happened.put(f"gone: {reason}")
    host, port = _at(arguments.broker)
    try:
        client.connect(host, port)
    except OSError as error:
        raise Failed(f"{arguments.broker}: {error.strerror or error}") from None
    client.loop_start()
    try:
        reason = happened.get(timeout=WAIT_S)
    except queue.Empty:
        raise Failed(f"{arguments.broker}: no answer within {WAIT_S:g} s") from None
    if reason != "Success":
        client.loop_stop()
        raise Failed(f"{arguments.broker}: {reason}")
    return client, happened


def _mqtt_pub(arguments: argparse.Namespace) -> int:
    client, _ = _client(arguments)
    try:
        sent = client.publish(arguments.topic, arguments.payload, qos=arguments.qos, retain=arguments.retain)
        sent.wait_for_publish(WAIT_S)
        if not sent.is_published():
            print(f"clasp-edge: {arguments.broker}: not acknowledged within {WAIT_S:g} s", file=sys.stderr)
            return EXIT_REFUSED
    except ValueError as error:
        print(f"clasp-edge: {arguments.topic}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    finally:
        client.disconnect()
        client.loop_stop()
    return EXIT_OK


def _mqtt_sub(arguments: argparse.Namespace) -> int:
    client, happened = _client(arguments)
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.on_message = lambda client, userdata, message: arrived.put(message)
    granted: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.on_subscribe = lambda client, userdata, mid, reasons, properties: granted.put(reasons)
    try:
        client.subscribe([(each, arguments.qos) for each in arguments.filters])
        for text, reason in zip(arguments.filters, granted.get(timeout=WAIT_S), strict=False):
            if reason.is_failure:
                print(f"clasp-edge: {text}: {reason}", file=sys.stderr)
                return EXIT_REFUSED
        return _show(arguments, arrived, happened)
    except queue.Empty:
        raise Failed(f"{arguments.broker}: no answer within {WAIT_S:g} s") from None
    except ValueError as error:
        print(f"clasp-edge: {error}", file=sys.stderr)
        return EXIT_REFUSED
    finally:
        client.disconnect()
        client.loop_stop()


def _show(arguments: argparse.Namespace, arrived: Any, happened: Any) -> int:
    ends_s = None if arguments.for_s is None else time.monotonic() + arguments.for_s
    left = arguments.count
    while left is None or left > 0:
        if ends_s is not None and time.monotonic() >= ends_s:
            break
        try:
            message = arrived.get(timeout=0.2)
        except queue.Empty:
            if not happened.empty():
                raise Failed(f"{arguments.broker}: {happened.get()}") from None
            continue
        text = message.payload.decode("utf-8", "backslashreplace")
        print(printable(f"{message.topic}{' (retained)' if message.retain else ''}  {text}"), flush=True)
        if left is not None:
            left -= 1
    return EXIT_OK
