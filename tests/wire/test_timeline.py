"""What becomes of a timeline on its way into the compact encoding."""

from __future__ import annotations

from clasp_edge.wire.enums import SignalType
from clasp_edge.wire.messages import Keyframe, Message, Publish, Set, Timeline
from clasp_edge.wire.timeline import timeline_as_value


def test_a_timeline_becomes_the_value() -> None:
    timeline = Timeline([Keyframe(0, 0.0), Keyframe(5, 1.0)], loop_=True, start_time=7, duration=9)
    message = timeline_as_value(Publish("/a", SignalType.TIMELINE, timeline=timeline))
    assert isinstance(message, Publish)
    assert message.timeline is None
    assert isinstance(message.value, dict)
    assert message.value.keys() == {"keyframes", "loop", "startTime", "duration"}
    assert (message.value["loop"], message.value["startTime"], message.value["duration"]) == (True, 7, 9)
    keyframes = message.value["keyframes"]
    assert isinstance(keyframes, list)
    assert [(point["time"], point["value"]) for point in keyframes if isinstance(point, dict)] == [(0, 0.0), (5, 1.0)]


def test_what_it_came_with_is_kept_in_it() -> None:
    timeline = Timeline([])
    with_value = timeline_as_value(Publish("/a", value=1, payload=2, timeline=timeline))
    with_payload = timeline_as_value(Publish("/a", payload=2, timeline=timeline))
    assert isinstance(with_value, Publish)
    assert isinstance(with_payload, Publish)
    assert with_value.value == {"keyframes": [], "loop": False, "value": 1}
    assert with_payload.value == {"keyframes": [], "loop": False, "value": 2}


def test_other_messages_stay_as_they_are() -> None:
    messages: list[Message] = [Publish("/a", value=1), Set("/a", 1)]
    assert [timeline_as_value(message) for message in messages] == messages
