"""The MQTT language without I/O: packets, properties, reason codes, for 3.1.1 and 5.0 alike."""

from clasp_edge.devices.mqtt.codec.decoder import decode
from clasp_edge.devices.mqtt.codec.encoder import encode
from clasp_edge.devices.mqtt.codec.packets import (
    Ack,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscribeFilter,
    Unsuback,
    Unsubscribe,
    Will,
)
from clasp_edge.devices.mqtt.codec.properties import Properties, Property
from clasp_edge.devices.mqtt.codec.reason import ConnectReturn, MqttError, Reason
from clasp_edge.devices.mqtt.codec.types import PacketType

__all__ = [
    "Ack",
    "Auth",
    "Connack",
    "Connect",
    "ConnectReturn",
    "Disconnect",
    "MqttError",
    "Packet",
    "PacketType",
    "Pingreq",
    "Pingresp",
    "Properties",
    "Property",
    "Publish",
    "Reason",
    "Suback",
    "Subscribe",
    "SubscribeFilter",
    "Unsuback",
    "Unsubscribe",
    "Will",
    "decode",
    "encode",
]
