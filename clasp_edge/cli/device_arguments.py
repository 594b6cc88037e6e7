"""The arguments of the commands that speak OSC and MQTT, for whoever has no other tool at hand."""

from __future__ import annotations

import argparse

from clasp_edge.cli.parser import Parser
from clasp_edge.cli.patterns import number, osc_address, seconds

COMMANDS = frozenset({"osc", "mqtt"})


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands."""
    _osc(commands)
    _mqtt(commands)


def _osc(commands: argparse._SubParsersAction[Parser]) -> None:
    osc = commands.add_parser(
        "osc", help="send and show OSC messages", description="Send OSC messages, or show those that come in."
    )
    actions = osc.add_subparsers(dest="action", metavar="ACTION", required=True)
    send = actions.add_parser("send", help="send one message", description="Send one OSC message over UDP.")
    send.add_argument("address", type=osc_address, metavar="ADDRESS", help="such as /fader/1")
    send.add_argument("values", nargs="*", metavar="VALUE", help="JSON: 1 is i, 1.0 f, true T; what is no JSON is text")
    send.add_argument("--to", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: 127.0.0.1:8000")
    dump = actions.add_parser(
        "dump",
        help="show what comes in",
        description="Show OSC messages that come in over UDP; with --from, subscribe at a router first.",
    )
    dump.add_argument(
        "patterns", nargs="*", default=["/**"], metavar="PATTERN", help="what to subscribe to (default: /**)"
    )
    dump.add_argument("--listen", default="0.0.0.0:0", metavar="HOST:PORT", help="where (default: any free port)")
    dump.add_argument("--from", dest="router", metavar="HOST:PORT", help="a router's OSC port, to subscribe at")
    dump.add_argument("--count", type=number, metavar="N", help="end after so many messages")
    dump.add_argument("--for", dest="for_s", type=seconds, metavar="SECONDS", help="end after so long")


def _mqtt(commands: argparse._SubParsersAction[Parser]) -> None:
    mqtt = commands.add_parser(
        "mqtt", help="publish and show MQTT messages", description="Publish an MQTT message, or show those that come."
    )
    broker = Parser(add_help=False)
    broker.add_argument("--broker", default="127.0.0.1:1883", metavar="HOST:PORT", help="default: 127.0.0.1:1883")
    broker.add_argument("--user", default="", help="user name")
    broker.add_argument("--password", default="", help="password; for clasp-edge, the token")
    broker.add_argument("--qos", type=int, choices=(0, 1, 2), default=0)
    actions = mqtt.add_subparsers(dest="action", metavar="ACTION", required=True)
    pub = actions.add_parser("pub", parents=[broker], help="publish one message", description="Publish one message.")
    pub.add_argument("topic", metavar="TOPIC")
    pub.add_argument("payload", nargs="?", default="", metavar="PAYLOAD", help="text; nothing for an empty message")
    pub.add_argument("--retain", action="store_true", help="keep it for those who subscribe later")
    sub = actions.add_parser(
        "sub", parents=[broker], help="show what is published", description="Show what is published."
    )
    sub.add_argument("filters", nargs="*", default=["#"], metavar="FILTER", help="default: #")
    sub.add_argument("--count", type=number, metavar="N", help="end after so many messages")
    sub.add_argument("--for", dest="for_s", type=seconds, metavar="SECONDS", help="end after so long")
