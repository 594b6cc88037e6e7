"""Where all values of a param are carried, those of an outage are told afterwards: whoever hears of them ends with what
stands, not with what stood when the link was lost."""

from __future__ import annotations

from support.client import WsClient
from support.daemon import Daemon
from support.federated import JOURNAL, await_down, await_up, await_value, box, client, uplink
from support.live import eventually, of_type, put, subscribe
from support.mqtt_client import Broker

from clasp_edge.wire import Set

NOWHERE = "ws://127.0.0.1:9"
ABSENT = None  # what clients hear where a param is cleared


def test_whoever_hears_of_all_values_ends_with_what_stands() -> None:
    def reach(url: str) -> str:
        return uplink(url, wants=["/mqtt/show/**"], policy={"/mqtt/show/**": "log"})

    with (
        Daemon(sets=JOURNAL, mqtt=True) as hub,
        box(reach(hub.ws_url), sets=JOURNAL, mqtt=True) as away,
        box(uplink(hub.ws_url, wants=["/mqtt/show/**"]), sets=JOURNAL) as other,
        client(hub) as at_hub,
        client(hub) as listener,
        client(other) as listens_elsewhere,
        client(away) as here,
    ):
        await_up(away)
        await_up(other)
        near, far = Broker(away.mqtt_address), Broker(hub.mqtt_address)
        try:
            device, subscriber = near.client(), far.client()
            device.publish("show/cleared", b"0", qos=1, retain=True)
            device.publish("show/later", b"0", qos=1, retain=True)
            await_value(other, "/mqtt/show/later", 0)
            subscriber.subscribe("show/#", options=1)
            for one in (listener, listens_elsewhere):
                subscribe(one, "/mqtt/show/**")
            (away.directory / "clasp-edge.toml").write_text(reach(NOWHERE))
            away.hangup()
            await_down(away)
            for number in range(1, 4):
                put(here, "/mqtt/show/fader", number)
                device.publish("show/cleared", b"%d" % number, qos=1, retain=True)
                device.publish("show/later", b"%d" % number, qos=1, retain=True)
            device.publish("show/cleared", b"", qos=1, retain=True)
            put(at_hub, "/mqtt/show/fader", 10)
            far.client().publish("show/later", b"007", qos=1, retain=True)
            (away.directory / "clasp-edge.toml").write_text(reach(hub.ws_url))
            away.hangup()
            await_up(away)

            stands = {"/mqtt/show/fader": 10, "/mqtt/show/cleared": ABSENT, "/mqtt/show/later": 7}
            for one in (listener, listens_elsewhere):
                heard: dict[str, list[object]] = {}

                def ended(one: WsClient = one, heard: dict[str, list[object]] = heard) -> bool:
                    for message in of_type(one.drain(), Set):
                        heard.setdefault(message.address, []).append(message.value)
                    return {address: values[-1] for address, values in heard.items()} == stands

                eventually(ended)
                for values in heard.values():
                    told = [value for value in values if value in (1, 2, 3)]
                    assert told == [1, 2, 3], values
            payloads: dict[str, bytes] = {}

            def ended_there() -> bool:
                payloads.update((found.topic, found.payload) for found in subscriber.publishes())
                return payloads == {"show/fader": b"10", "show/cleared": b"", "show/later": b"007"}

            eventually(ended_there)
        finally:
            near.leave()
            far.leave()
