"""The page in Debian's Chromium against a live router. Pictures of every view are kept in build/screenshots."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser
from support.browser import Shown, chromium
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, put
from support.mqtt_client import MqttClient

from clasp_edge.wire import Ack, Get, Set, Snapshot

HOSTILE = ("<script>alert(1)<", "<img src=x onerror=alert(2)>")
CONFIG = """
[security]
mode = "authenticated"
[[security.token]]
token = "all"
scopes = ["admin:/**"]
[[security.token]]
token = "lamp"
scopes = ["read:/stage/lamp/**"]
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def stage() -> Iterator[Daemon]:
    with Daemon(mqtt=True, osc=True, sets={"journal.mode": "group"}) as daemon:
        client = WsClient(daemon.ws_url)
        client.hello("desk")
        values = {
            "/stage/desk/fader": 0.5, "/stage/desk/on": True, "/stage/lamp/colour": "#ff8800", "/stage/lamp/level": 128,
            f"/x/{HOSTILE[0]}": 1.0, f"/{HOSTILE[1]}/a": HOSTILE[1],
        }  # fmt: skip
        for address, value in values.items():
            put(client, address, value)
        device = MqttClient(daemon.mqtt_address)
        device.connect("lamp-7")
        yield daemon
        client.close()
        device.socket.close()
        daemon.assert_healthy()


def value_of(daemon: Daemon, address: str) -> object:
    client = WsClient(daemon.ws_url)
    client.hello()
    client.send(Get(address))
    answer = client.recv()
    client.close()
    return answer.params[0].value if isinstance(answer, Snapshot) else None


def test_every_view(browser: Browser, stage: Daemon) -> None:
    shown = Shown(browser, stage)
    shown.page.wait_for_selector("text=All is well")
    shown.page.wait_for_selector("canvas")
    shown.page.wait_for_selector("text=0.1.0")
    shown.picture("overview")
    shown.page.click("nav >> text=Clients")
    shown.page.wait_for_selector("text=mqtt:lamp-7")
    assert "desk" in shown.text()
    shown.picture("clients")
    for view in ("Boxes",):
        shown.page.click(f"nav >> text={view}")
        shown.page.wait_for_selector("text=None")
        shown.picture(view.lower())
    shown.page.click("nav >> text=Journal")
    shown.page.click("button:text-is('Load')")
    shown.page.wait_for_selector("td code:text-is('/stage/lamp/level')")
    shown.picture("journal")
    shown.page.fill("input[placeholder='to its own']", "/stage/lamp/again")
    shown.page.click("button[aria-label='Send again: /stage/lamp/level']")
    shown.page.wait_for_selector("[role=status]:has-text('✓ /stage/lamp/again 128')")
    eventually(lambda: value_of(stage, "/stage/lamp/again") == 128)
    ask(stage.control_path, request="reload")
    shown.page.click("button:text-is('Audit')")
    shown.page.wait_for_selector("td code:has-text('reload: client')")
    shown.picture("audit")
    shown.page.click("text=Deutsch")
    shown.page.wait_for_selector("nav >> text=Übersicht")
    shown.picture("german")
    assert shown.faults == []
    assert [url for url in shown.asked if not url.startswith(shown.url)] == []
    shown.close()


def test_the_tree_shows_and_changes_values(browser: Browser, stage: Daemon) -> None:
    shown = Shown(browser, stage, path="#Tree")
    page = shown.page
    for branch in ("stage", "desk", "fader"):
        page.click(f".leaf button:text-is('{branch}')")
    page.wait_for_selector("output:text-is('0.5')")
    client = WsClient(stage.ws_url)
    client.hello()
    put(client, "/stage/desk/fader", 0.625)
    page.wait_for_selector("output:text-is('0.625')")
    page.fill(".panel input.mono", "0.25")
    page.keyboard.press("Enter")
    eventually(lambda: value_of(stage, "/stage/desk/fader") == 0.25)
    page.wait_for_selector("output:text-is('0.25')")
    page.wait_for_selector(".panel canvas")
    shown.picture("tree")
    page.click("button:text-is('Lock')")
    page.wait_for_selector("button[aria-pressed=true]:text-is('Unlock')")
    client.send(Set("/stage/desk/fader", 0.9))
    assert "LockHeld" in str(client.recv())
    page.click("button:text-is('Unlock')")
    page.wait_for_selector("button:text-is('Lock')")
    eventually(lambda: client.send(Set("/stage/desk/fader", 0.3)) or isinstance(client.recv(), Ack))
    page.click(".leaf button:text-is('on')")
    page.click(".panel input[type=checkbox]")
    eventually(lambda: value_of(stage, "/stage/desk/on") is False)
    page.fill(".panel input.mono", "[1.0, 2")
    page.click("button:text-is('Set')")
    page.wait_for_selector("text=/JSON|Unexpected|Expected/")
    page.fill(".panel input.mono", "1.0")
    page.click("button:text-is('Set')")
    eventually(lambda: repr(value_of(stage, "/stage/desk/on")) == "1.0")
    page.click("button:text-is('MQTT')")
    page.wait_for_selector("text=mosquitto_pub -h 127.0.0.1")
    page.click("button:text-is('Forget')")
    eventually(lambda: value_of(stage, "/stage/desk/on") is None)
    put(client, "/stage/desk/on", True)
    client.close()
    assert shown.faults == []
    shown.close()


def test_hostile_names_are_text(browser: Browser, stage: Daemon) -> None:
    shown = Shown(browser, stage, path="#Tree")
    shown.page.on("dialog", lambda dialog: shown.faults.append(dialog.message))
    shown.page.click(".leaf button:text-is('x')")
    shown.page.click(f".leaf button:text-is('{HOSTILE[0]}')")
    shown.page.click(f".leaf button:text-is('{HOSTILE[1]}')")
    shown.page.click(".leaf button:text-is('a')")
    shown.page.wait_for_selector(f".panel code:text-is('/{HOSTILE[1]}/a')")
    for form in ("Python", "JavaScript", "MQTT", "OSC"):
        shown.page.click(f"button:text-is('{form}')")
    assert shown.page.query_selector("main img, main script") is None
    shown.picture("hostile")
    assert shown.faults == []
    shown.close()


def test_by_keyboard_on_a_phone(browser: Browser, stage: Daemon) -> None:
    shown = Shown(browser, stage, path="#Tree", phone=True)
    page = shown.page
    page.focus(".leaf button:text-is('stage')")
    page.keyboard.press("ArrowRight")
    page.focus(".leaf button:text-is('lamp')")
    page.keyboard.press("Enter")
    page.focus(".leaf button:text-is('colour')")
    page.keyboard.press("Enter")
    page.wait_for_selector("input[type=color]")
    shown.picture("phone")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown.close()


def test_log_in_with_a_wrong_token_and_a_right_one(browser: Browser) -> None:
    with Daemon(config=CONFIG) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws(token="all")
        put(client, "/stage/lamp/level", 1)
        put(client, "/stage/secret", 2)
        shown = Shown(browser, daemon, path="#Tree")
        shown.page.fill("#token", "wrong")
        shown.page.click("button:text-is('Log in')")
        shown.page.wait_for_selector("[role=alert]:has-text('Invalid token')")
        shown.picture("login")
        shown.page.fill("#token", "lamp")
        shown.page.keyboard.press("Enter")
        for branch in ("stage", "lamp", "level"):
            shown.page.click(f".leaf button:text-is('{branch}')")
        shown.page.wait_for_selector("output:text-is('1')")
        assert "secret" not in shown.text()
        shown.page.fill(".panel input.mono", "5")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("text=Insufficient scope for write operation")
        shown.close()
        crowd.leave()


def test_the_router_goes_and_comes_back(browser: Browser) -> None:
    daemon = Daemon().start()
    shown = Shown(browser, daemon)
    shown.page.wait_for_selector("text=All is well")
    daemon.stop()
    shown.page.wait_for_selector("text=No connection to the router")
    shown.picture("lost")
    daemon.start()
    shown.page.wait_for_selector("text=All is well")
    shown.close()
    daemon.stop()


def test_a_page_from_elsewhere_cannot_connect(browser: Browser, stage: Daemon) -> None:
    with Daemon() as other:
        shown = Shown(browser, other)
        script = """url => new Promise(done => {
            const socket = new WebSocket(url);
            socket.onopen = () => done("open");
            socket.onerror = () => done("no");
        })"""
        assert shown.page.evaluate(script, other.ws_url) == "open"
        assert shown.page.evaluate(script, stage.ws_url) == "no"
        shown.close()


RULE = """
[[rule]]
id = "fader-to-lamp"
trigger = { type = "change", pattern = "/box2/fader/*" }
when = [{ address = "/mode", eq = "show" }]
do = [{ set = "/box1/lamp/{1}", value = 1.0 }]
"""


@pytest.fixture(scope="module")
def faulty() -> Iterator[Daemon]:
    """A show in which the fader does not move the lamp."""
    target = '[[osc.target]]\nname = "dimmer"\nhost = "no-such-host.invalid"\nport = 9\npatterns = ["/box1/**"]\n'
    uplink = '[uplink.foh]\nurl = "ws://127.0.0.1:9"\nowns = ["/box1/**"]\n'
    with Daemon(config=RULE + target + uplink, mqtt=True, osc=True) as daemon:
        client = WsClient(daemon.ws_url)
        client.hello("fader box")
        put(client, "/mode", "rehearsal")
        put(client, "/box2/fader/1", 0.5)
        put(client, "/box1/lamp/1", 0.0)
        yield daemon
        client.close()


def test_the_page_says_why_the_lamp_does_not_move(browser: Browser, faulty: Daemon) -> None:
    shown = Shown(browser, faulty, path="#Tree")
    page = shown.page
    for branch in ("box1", "lamp", "1"):
        page.click(f".leaf button:text-is('{branch}')")
    page.click(".panel a:text-is('Why does a value not arrive?')")
    page.wait_for_selector("li:has-text('osc device dimmer') >> text=its host is not found")
    page.wait_for_selector("li:has-text('uplink foh') >> text=would carry it (owns), but is")
    shown.picture("why")
    page.fill("#why", "/box2/fader/1")
    page.keyboard.press("Enter")
    page.wait_for_selector("li:has-text('rule fader-to-lamp') >> text=no: ")
    page.wait_for_selector("text=written by fader box")
    page.wait_for_selector("li:has-text('uplink foh') >> text=does not carry it")
    page.click("nav >> text=Rules")
    page.click("button:text-is('fader-to-lamp')")
    page.wait_for_selector("code.warn:has-text('/mode')")
    shown.picture("rules")
    page.click("button:text-is('Switch off')")
    page.wait_for_selector("span:text-is('off')")
    page.click("button:text-is('Switch on')")
    page.wait_for_selector("span:text-is('on')")
    assert shown.faults == []
    shown.close()


def test_clients_are_disconnected_and_what_comes_in_is_watched(browser: Browser, faulty: Daemon) -> None:
    shown = Shown(browser, faulty, path="#Clients")
    page = shown.page
    guest = WsClient(faulty.ws_url)
    guest.hello("unwanted guest")
    page.click("button[aria-label='Disconnect unwanted guest']")
    eventually(lambda: "unwanted guest" not in shown.text())
    watch = page.locator("button:text-is('Watch what comes in')")
    watch.last.click()
    page.wait_for_selector("[role=region][aria-label='/osc monitor']", state="attached")
    writer = WsClient(faulty.ws_url)
    writer.hello("writer")

    def watched() -> bool:
        put(writer, "/osc/a/b", "<b>bold</b>")  # again: the region is there before the page has subscribed
        return page.locator("td code:text-is('/osc/a/b')").count() > 0

    eventually(watched)
    page.wait_for_selector("td code:has-text('<b>bold</b>')")
    shown.picture("monitor")
    page.fill("input[aria-label='filter /osc']", "nothing like it")
    page.wait_for_selector("td code:text-is('/osc/a/b')", state="detached")
    page.click("button[aria-label='Send all again: dimmer']")
    page.wait_for_selector("text=✓")
    assert shown.faults == []
    writer.close()
    guest.close()
    shown.close()


def test_an_option_is_tried_and_kept_and_a_bundle_downloaded(browser: Browser) -> None:
    with Daemon() as daemon:
        shown = Shown(browser, daemon, path="#Setup")
        page = shown.page
        page.fill("input[aria-label='Search options']", "max_sessions")
        page.fill("#option-limits-max_sessions", "-5")
        page.click("button:text-is('Check')")
        page.wait_for_selector("[role=alert]:has-text('limits.max_sessions: must be a whole number')")
        page.fill("#option-limits-max_sessions", "55")
        page.click("button:text-is('Check')")
        page.wait_for_selector("td code.good:text-is('55')")
        shown.picture("setup")
        page.click("button:text-is('Try for a minute')")
        page.click("button:text-is('Keep')")
        eventually(lambda: "max_sessions = 55" in settings_of(daemon))
        with page.expect_download() as download:
            page.click("button:text-is('Download')")
        bundle = json.loads(download.value.path().read_text())
        assert bundle["config"]["limits"]["max_sessions"] == 55
        assert shown.faults == []
        shown.close()


def settings_of(daemon: Daemon) -> str:
    path = daemon.data_dir / "settings.toml"
    return path.read_text() if path.exists() else ""


def test_over_https_the_page_shows_the_certificate_and_sends_values(browser: Browser) -> None:
    with Daemon(sets={"websocket.tls_listen": "127.0.0.1:0"}) as daemon:
        shown = Shown(browser, daemon, encrypted=True)
        [fingerprint] = {word for word in daemon.stderr.split() if word.startswith("sha256:")}
        shown.page.wait_for_selector(f"code[title='{fingerprint}']")
        assert "TLS" in shown.text()
        with WsClient(daemon.ws_url) as client:
            client.hello()
            put(client, "/over/tls", 7)
        shown.page.goto(shown.url + "#Tree")
        shown.page.wait_for_selector("text=over")
        assert shown.faults == []
        assert all(address.startswith(("https://", "wss://", "data:", "blob:")) for address in shown.asked)
        shown.close()


def test_a_router_is_claimed_and_tokens_are_made_and_revoked(browser: Browser) -> None:
    with Daemon() as daemon:
        shown = Shown(browser, daemon, path="#Setup")
        page = shown.page
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("button:text-is('Claim this router')")
        admin = page.inner_text("#admin-token")
        # This page has logged in, so that what is shown once stays.
        page.click("button:text-is('Log out')")
        page.fill("#token", admin)
        page.click("button:text-is('Log in')")
        page.fill("#token-name", "desk")
        page.click("button:text-is('New token')")
        secret = page.inner_text("#secret")
        with WsClient(daemon.ws_url) as client:
            client.hello(token=secret)
        page.click("button[aria-label='Revoke desk']")
        page.wait_for_selector("button[aria-label='Revoke desk']", state="detached")
        shown.picture("claimed")
        shown.close()


@pytest.mark.parametrize(
    "view", ["Overview", "Tree", "Clients", "Boxes", "Rules", "Why=/box1/lamp/1", "Journal", "Setup"]
)
def test_every_view_is_accessible(browser: Browser, faulty: Daemon, view: str) -> None:
    shown = Shown(browser, faulty, path=f"#{view}")
    shown.page.wait_for_selector("nav a[aria-current=page]")
    shown.page.wait_for_selector(".view > *")
    shown.page.wait_for_load_state("networkidle") if view != "Overview" else shown.page.wait_for_selector("canvas")
    found = Axe().run(shown.page)
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found.response["violations"]] == []
    shown.close()
