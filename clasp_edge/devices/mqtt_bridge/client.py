"""paho's client, and what a broker may make it keep: a broker is a stranger too.

paho trusts its broker: it collects a packet of any length, keeps QoS 2 messages until their PUBREL, queues answers that
nobody reads, and takes a CONNACK at any time. Here each of these has a bound, or ends the connection with a sentence.
"""

from __future__ import annotations

from typing import Any

from paho.mqtt.client import CONNACK, DISCONNECT, PINGREQ, PUBLISH, Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import MQTTErrorCode

from clasp_edge.devices.mqtt_bridge.buffered_socket import BufferedSocket

MOST_UNSENT_PACKETS = 1024
"""Acknowledgements mostly, half a kilobyte each; with more of them waiting nothing is read, as with what waits here."""

AUTH = 0xF0
QOS_2 = 0x04
"""In the first byte of a PUBLISH (3.3.1.2)."""


def _taken() -> MQTTMessage:
    message = MQTTMessage()
    message.qos = 2
    return message


_TAKEN = _taken()
"""In the place of each QoS 2 message whose PUBREL is still to come: paho's own take a kilobyte beside what they say."""


class BoundedClient(Client):
    """Takes packets up to `max_packet` bytes. A larger message is read past and given to `on_message` without its end
    while `is_cut` is true, so that a session with a broker of MQTT 3.1.1, which cannot be told, gets beyond it."""

    max_packet = 0
    is_cut = False
    fault = ""
    """Why the connection was given up, where the broker is at fault."""
    _answered = False
    _received = 0
    _is_repeated = False

    def begin(self) -> None:
        """A new connection."""
        self.fault = ""
        self._answered = False

    def forget_received(self) -> None:
        """The broker has no session of ours: its packet identifiers are new ones."""
        self._in_messages.clear()

    @property
    def clogged(self) -> bool:
        """Whether so much waits to be read by the broker that nothing of it should be read."""
        return len(self._out_packet) > MOST_UNSENT_PACKETS

    def keep_alive_within(self, seconds: int) -> None:
        """A broker may ask for a shorter keep-alive. One that asks for none, or a longer one, has ours all the same."""
        self._keepalive = min(self._keepalive or seconds, seconds)

    @property
    def keep_alive_s(self) -> int:
        return self._keepalive

    def _create_socket(self) -> Any:
        sock = BufferedSocket(super()._create_socket())
        sock.set_no_delay()
        return sock

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """One packet, or a part of one; paho would read as many as there are messages under way."""
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        code = self._packet_read()
        return self._loop_rc_handle(code) if code > 0 else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _sock_recv(self, bufsize: int) -> bytes:
        packet = self._in_packet
        if packet["have_remaining"] and packet["remaining_length"] > self.max_packet:
            if packet["command"] & 0xF0 != PUBLISH:
                self._broken(f"a packet of {packet['remaining_length']} bytes")
                raise ConnectionError
            del packet["packet"][self.max_packet :]
        return super()._sock_recv(bufsize)

    def _packet_handle(self) -> MQTTErrorCode:
        kind = self._in_packet["command"] & 0xF0
        if kind == CONNACK:
            if self._answered:
                return self._broken("a second CONNACK")
            self._answered = True
        elif not self._answered and not (self._protocol == MQTTv5 and kind in (AUTH, DISCONNECT)):
            return self._broken("something else in place of a CONNACK")
        elif kind == PINGREQ:
            return self._broken("a PINGREQ, which only clients send")
        return super()._packet_handle()

    def _broken(self, what: str) -> MQTTErrorCode:
        self.fault = f"the broker has sent {what}"
        return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _handle_publish(self) -> MQTTErrorCode:
        # QoS 2 by method B (MQTT 5.0, 4.3.3): a message is taken when it comes, and its identifier alone is kept.
        self.is_cut = self._in_packet["remaining_length"] > self.max_packet
        self._received = 0
        code = super()._handle_publish()
        if self._in_packet["command"] & 0x06 == QOS_2 and self._received in self._in_messages:
            message = self._in_messages[self._received]
            self._in_messages[self._received] = _TAKEN
            if not self._is_repeated:
                super()._handle_on_message(message)
        return code

    def _send_pubrec(self, mid: int) -> MQTTErrorCode:
        self._received = mid
        self._is_repeated = mid in self._in_messages
        return super()._send_pubrec(mid)

    def _handle_on_message(self, message: MQTTMessage) -> None:
        if message is not _TAKEN:
            super()._handle_on_message(message)
