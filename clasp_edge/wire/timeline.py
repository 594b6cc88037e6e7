"""A timeline that came in MessagePack, as the compact encoding can carry it: as the value of its PUBLISH.

Compact PUBLISH has no place for keyframes, and the reference drops them (wire.md 2.3). The published clients that send
timelines in the compact encoding send them as a value too; the names of the parts are theirs.
"""

from __future__ import annotations

from dataclasses import replace

from clasp_edge.wire.messages import Absent, Message, Publish, Timeline
from clasp_edge.wire.values import Value


def timeline_as_value(message: Message) -> Message:
    """The message, with its timeline, if it has one, as a map in the place of the value."""
    if not isinstance(message, Publish) or message.timeline is None:
        return message
    value = message.payload if isinstance(message.value, Absent) else message.value
    return replace(message, value=_map_of(message.timeline, value), timeline=None)


def _map_of(timeline: Timeline, value: Value | Absent) -> dict[str, Value]:
    keyframes: list[Value] = []
    for keyframe in timeline.keyframes:
        point: dict[str, Value] = {"time": keyframe.time, "value": keyframe.value, "easing": keyframe.easing}
        if keyframe.bezier is not None:
            point["bezier"] = list(keyframe.bezier)
        keyframes.append(point)
    found: dict[str, Value] = {"keyframes": keyframes, "loop": timeline.loop_}
    if timeline.start_time is not None:
        found["startTime"] = timeline.start_time
    if timeline.duration is not None:
        found["duration"] = timeline.duration
    if not isinstance(value, Absent):
        found["value"] = value
    return found
