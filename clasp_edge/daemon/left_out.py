"""Devices whose values no uplink carries: all is green, and nothing arrives. Said by `check`, the start, `status` and
the console.

Compares where MQTT and OSC devices write, by the configuration alone, with what uplinks and bridges carry.
"""

from __future__ import annotations

from collections.abc import Iterator

from clasp_edge.config.model import Config
from clasp_edge.wire.pattern import Pattern, PatternError, overlap

MOST_NAMED = 8


def left_out(config: Config) -> Iterator[str]:
    """A sentence for each kind of devices. None where there is no uplink: then nothing is expected above."""
    if not config.uplink:
        return
    carried = [
        *(text for uplink in config.uplink.values() for text in (*uplink.owns, *uplink.wants)),
        *(part.address for bridge in config.bridge.values() for part in bridge.map if part.direction != "in"),
    ]
    patterns = [pattern for text in carried if (pattern := _pattern(text)) is not None]
    for kind, texts in (("MQTT", _mqtt(config)), ("OSC", _osc(config))):
        lost = [text for text in dict.fromkeys(texts) if not _meets(text, patterns)]
        if lost:
            shown = ", ".join(text.removesuffix("/**") for text in lost[:MOST_NAMED])
            wanted = ", ".join(f'"{text}"' for text in lost[:MOST_NAMED])
            yield f"{kind} devices write to {shown}, which no uplink carries; {wanted} in owns of an uplink does"


def _mqtt(config: Config) -> Iterator[str]:
    """Where MQTT clients write."""
    mqtt = config.mqtt
    # Over WebSocket they come on its listener as well (transports/mqtt_websocket.py).
    if mqtt.listen is None and mqtt.tls_listen is None:
        return
    if mqtt.namespace:
        yield f"{mqtt.namespace}/**"
    for mount in mqtt.mount:
        if mount.rights != "read":
            yield mount.address


def _osc(config: Config) -> Iterator[str]:
    """Where OSC devices write."""
    osc = config.osc
    if osc.listen is None:
        return
    if osc.namespace:
        # Devices that nobody has named write below it, too.
        yield f"{osc.namespace}/**"
    else:
        for device in (*osc.target, *osc.device):
            if device.prefix:
                yield f"{device.prefix}/**"
    for device in (*osc.target, *osc.device):
        yield from (text for text in device.outside if text.startswith("/"))


def _meets(text: str, carried: list[Pattern]) -> bool:
    """Whether anything of it is carried: what a person has chosen of it is meant so."""
    pattern = _pattern(text)
    return pattern is None or any(overlap(pattern, other) for other in carried)


def _pattern(text: str) -> Pattern | None:
    try:
        return Pattern(text.encode())
    except PatternError:
        return None
