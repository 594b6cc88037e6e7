"""Why a fader on box 2 does not move a lamp on box 1: five faults, found from the page alone, as in docs/console.md.

Two routers, box 2 with an uplink to box 1, and somebody with a browser who has read nothing. Each test goes the way
that the page shows, and keeps pictures of what is to be seen in build/screenshots.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from support.browser import Shown, chromium
from support.daemon import Daemon
from support.federated import await_up, client, uplink
from support.live import put, subscribe
from support.mqtt_client import MqttClient
from support.osc import Device

from clasp_edge.wire import Bundle, Set, SignalType, Subscribe, Unsubscribe


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def named(name: str, more: str = "") -> str:
    return f'name = "{name}"\n{more}'


def box2(
    hub: Daemon, *, config: str = "", osc: bool = False, url: str = "", owns: str = "/box2/**", **more: str
) -> Daemon:
    """The box with the fader; `more` of its uplink."""
    link = uplink(url or hub.ws_url, "box1", owns=[owns], **more)
    return Daemon(config=named("box 2", config + link), sets={"federation.router_id": "edge-box2"}, osc=osc)


def test_the_page_of_a_box_is_one_click_from_the_hub(browser: Browser) -> None:
    with Daemon(config=named("box 1")) as hub, box2(hub) as box:
        await_up(box, "box1")
        shown = Shown(browser, hub, path="#Boxes")
        card = shown.page.locator("li[aria-label='box 2']")
        card.locator("text=security open").wait_for()
        card.locator("code:has-text('/box2/**')").wait_for()
        shown.picture("boxes")
        with shown.page.expect_popup() as opened:
            card.locator("a").click()
        opened.value.wait_for_selector("h1:text-is('box 2')")
        assert shown.faults == []
        shown.close()


def test_the_fader_writes_what_the_uplink_does_not_carry(browser: Browser) -> None:
    with (
        Daemon(config=named("box 1")) as hub,
        box2(hub) as box,
        client(box, "fader") as fader,
        client(hub, "lamp") as lamp,
    ):
        await_up(box, "box1")
        subscribe(lamp, "/box2/fader/1")
        put(fader, "/stage2/fader/1", 0.5)
        # Who looks at the lamp's box sees that nothing arrives, and what would.
        shown = Shown(browser, hub, path="#Why")
        shown.page.wait_for_selector("text=Nothing. What the fader sends does not reach this box")
        shown.page.fill("#why", "/box2/fader/1")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("li:has-text('param') >> text=nobody has written it here")
        shown.page.wait_for_selector("li:has-text('client lamp') >> text=is told: subscribed by /box2/fader/1")
        shown.page.wait_for_selector("li:has-text('box 2') >> text=owns it (/box2/**), connected")
        shown.picture("fault-prefix-lamp")
        # On the fader's box it is to be seen where its values come out, and why they go no further.
        there = Shown(browser, box, path="#Why")
        put(fader, "/stage2/fader/1", 0.6)
        there.page.click("#changed a:has-text('/stage2/fader/1')")
        there.page.wait_for_selector(
            "li:has-text('uplink box1') >> text=does not carry it: it is in neither owns nor wants (/box2/**)"
        )
        there.picture("fault-prefix-fader")
        shown.close()
        there.close()


TOKENS = """
[security]
mode = "authenticated"
[[security.token]]
token = "admin"
scopes = ["admin:/**"]
[[security.token]]
token = "fader"
subject = "fader"
scopes = ["write:/box2/encoder/**"]
"""


def test_the_fader_may_not_write_there(browser: Browser) -> None:
    with (
        Daemon(config=named("box 1")) as hub,
        box2(hub, config=TOKENS) as box,
        client(box, "fader", token="fader") as fader,
    ):
        fader.send(Set("/box2/fader/1", 0.5))
        fader.sync()
        shown = Shown(browser, box)
        shown.page.fill("#token", "admin")
        shown.page.keyboard.press("Enter")
        shown.page.click("nav >> text=Clients")
        shown.page.wait_for_selector("td:has-text('Insufficient scope for write operation: /box2/fader/1')")
        shown.picture("fault-token-clients")
        shown.page.click("nav >> text=Why")
        shown.page.fill("#why", "/box2/fader/1")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("li:has-text('client fader') >> text=was refused")
        shown.picture("fault-token-why")
        shown.close()


def test_the_token_of_the_uplink_may_not(browser: Browser) -> None:
    with Daemon(config=named("box 1", TOKENS)) as hub, box2(hub, token="fader") as box:
        shown = Shown(browser, box)
        shown.page.wait_for_selector("text=/uplink box1 is not connected: .*insufficient scope to own/")
        shown.picture("fault-token-uplink")
        shown.close()


def test_an_osc_device_sends_another_address_and_type_or_nothing(browser: Browser) -> None:
    with Daemon(config=named("box 1")) as hub, box2(hub, osc=True, owns="/osc/**") as box:
        await_up(box, "box1")
        shown = Shown(browser, box, path="#Why=/osc/1/fader1")
        shown.page.wait_for_selector(
            "text=/no device has sent anything in the last 10 minutes; this box listens on UDP port/"
        )
        shown.picture("fault-osc-nothing")
        device = Device(box.osc_address)  # one that is not configured
        device.say("/2/fader1", "0.5")
        shown.page.wait_for_selector("li:has-text('address like it'):has-text('/osc/2/fader1, written')")
        shown.picture("fault-osc-address")
        shown.page.goto(shown.url + "#Why=/osc/2/fader1")
        shown.page.wait_for_selector("li:has-text('param') >> text=is \"0.5\" (text, revision 1)")
        shown.picture("fault-osc-type")
        device.socket.close()
        shown.close()


def test_the_uplink_has_a_wrong_pin(browser: Browser) -> None:
    with Daemon(config=named("box 1"), sets={"websocket.tls_listen": "127.0.0.1:0"}) as hub:
        host, port = hub.address_pair("wss")
        with box2(hub, url=f"wss://{host}:{port}", tls_pin="sha256:" + "0" * 64) as box, client(box, "fader") as fader:
            put(fader, "/box2/fader/1", 0.5)
            shown = Shown(browser, box)
            shown.page.wait_for_selector("text=/uplink box1 is not connected: .*pin/")
            shown.picture("fault-pin-overview")
            shown.page.goto(shown.url + "#Why=/box2/fader/1")
            shown.page.wait_for_selector("li:has-text('uplink box1') >> text=/would carry it .owns., but is .*pin/")
            shown.picture("fault-pin-why")
            shown.close()


RULE = """
[[rule]]
id = "fader-to-lamp"
trigger = { type = "change", pattern = "/box2/fader/*" }
do = [{ set = "/box1/lamp/{1}", value = "$value" }]
"""


def test_a_lock_or_a_rule_that_is_off(browser: Browser) -> None:
    with (
        Daemon(config=named("box 1", RULE)) as hub,
        box2(hub) as box,
        client(box, "fader") as fader,
        client(hub, "desk") as desk,
    ):
        await_up(box, "box1")
        put(fader, "/box2/fader/1", 0.5)
        shown = Shown(browser, hub, path="#Why=/box2/fader/1")
        page = shown.page
        page.wait_for_selector("li:has-text('rule fader-to-lamp') >> text=looks at it")
        page.click("nav >> text=Rules")
        page.click("button:text-is('Switch off')")
        page.wait_for_selector("span:text-is('off')")
        page.goto(shown.url + "#Why=/box2/fader/1")
        page.wait_for_selector("li:has(.bad):has-text('rule fader-to-lamp') >> text=it is switched off")
        shown.picture("fault-rule-off")
        put(desk, "/box1/lamp/1", 0.1, lock=True)
        page.goto(shown.url + "#Why=/box1/lamp/1")
        page.wait_for_selector("li:has-text('param') >> text=is locked by desk")
        shown.picture("fault-lock")
        shown.close()


LAMP = '[[osc.target]]\nname = "dimmer"\nhost = "127.0.0.1"\nport = 9\npatterns = ["/box2/**"]\n'


def test_five_other_faults(browser: Browser) -> None:
    """Too fast, a wrong clock, a topic that is not the address, a lamp that wants events or has another port."""
    link = '[uplink.box1]\nurl = "{}"\nowns = ["/box2/**"]\n'
    with (
        Daemon(config=named("box 1") + LAMP, osc=True) as hub,
        Daemon(
            config=named("box 2") + link.format(hub.ws_url),
            sets={"federation.router_id": "edge-box2"},
            mqtt=True,
            messages_per_second=50,
        ) as box,
        client(box, "fader") as fader,
        client(hub, "lamp") as lamp,
    ):
        await_up(box, "box1")
        there = Shown(browser, box, path="#Why=/box2/fader/1")
        for number in range(400):
            fader.send(Set("/box2/fader/1", number / 400), qos=0)
        there.page.wait_for_selector("li:has(.bad):has-text('client fader') >> text=/sends too fast: .* were refused/")
        there.picture("fault-too-fast")

        with client(box, "show control") as cues:
            cues.send(Bundle([Set("/box2/fader/2", 0.5)], timestamp=(int(time.time()) + 3000) * 1_000_000))
            cues.sync()
            there.page.goto(there.url + "#Why=/box2/fader/2")
            waits = "text=/in a bundle that waits for its time, 2[0-9]+.* s more; is the clock of the sender right/"
            there.page.wait_for_selector(f"li:has(.bad):has-text('client show control') >> {waits}")
            there.picture("fault-clock")

        device = MqttClient(box.mqtt_address)
        device.connect("fader-3")
        device.publish("box2/fader/3", b"0.5")
        there.page.goto(there.url + "#Why=/box2/fader/3")
        there.page.wait_for_selector("li:has-text('address like it') >> text=mqtt/box2/fader/3, written")
        there.picture("fault-topic")
        device.socket.close()
        assert there.faults == []
        there.close()

        shown = Shown(browser, hub, path="#Why=/box2/fader/1", phone=True)
        lamp.send(Subscribe(1, "/box2/fader/1", types=(SignalType.EVENT,)))
        lamp.send(Subscribe(2, "/box2/lamp/*"))
        shown.page.wait_for_selector("li:has(.bad):has-text('client lamp') >> text=but not to params")
        shown.page.wait_for_selector("li:has-text('osc device dimmer') >> text=/at UDP 127.0.0.1:9/")
        shown.picture("fault-events-and-port")
        lamp.send(Unsubscribe(1))
        shown.page.wait_for_selector("li:has-text('client lamp') >> text=is subscribed to /box2/lamp/*, which this")
        shown.picture("fault-elsewhere")
        assert shown.faults == []
        shown.close()
