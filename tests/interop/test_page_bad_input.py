"""What a page may meet that is not as it should be: a sentence for who looks at it, and no trouble for others.

A page from elsewhere and an update that is not signed are in test_page_browser.py and test_page_setup.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route
from support.browser import Shown, chromium
from support.client import WsClient
from support.console import clasp_edge
from support.daemon import Daemon
from support.federated import await_up, uplink
from support.live import eventually, put
from support.mqtt_client import MqttClient

VIEWS = ("Overview", "Tree", "Clients", "Boxes", "Rules", "Why=/a", "Journal", "Setup")
INHERITED = ("__proto__", "constructor", "toString", "hasOwnProperty")
"""Names that every object of JavaScript answers to."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, osc=True) as running:
        yield running
        running.assert_healthy()


ADMIN = """
[security]
mode = "authenticated"
[[security.token]]
token = "the-admins-own-token"
scopes = ["admin:/**"]
"""


def test_a_token_that_is_revoked_while_the_page_is_open(browser: Browser) -> None:
    with Daemon(config=ADMIN) as daemon, WsClient(daemon.ws_url) as other:
        source = ("--set", f"console.socket={daemon.control_path}")
        made = clasp_edge("token", "new", "page", "--scope", "admin:/**", *source)
        token = next(word for word in made.stdout.split() if word.startswith("cpsk_"))
        other.hello("other", token="the-admins-own-token")
        shown = Shown(browser, daemon, path=f"#token={token}")
        shown.page.wait_for_selector("text=All is well")
        clasp_edge("token", "revoke", "page", *source)
        shown.page.wait_for_selector("h2:text-is('This router needs a token.')")
        shown.page.wait_for_selector("[role=alert]:has-text('Invalid token')")
        shown.picture("stale-token")
        put(other, "/still/there", 1)
        shown.page.fill("#token", "the-admins-own-token")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("text=All is well")
        shown.close()


def test_names_that_every_object_has_and_values_of_60_kb(browser: Browser, daemon: Daemon) -> None:
    device = MqttClient(daemon.mqtt_address)
    device.connect("__proto__")
    with WsClient(daemon.ws_url) as client:
        client.hello("constructor")
        client.sync()
        for name in INHERITED:
            put(client, f"/h/{name}", name)
            put(client, f"/{name}/x", {name: 1, "<b>": [b"\0", None, 1.0]})
        put(client, "/long", "<b>" * 20_000)
        shown = Shown(browser, daemon, path="#Tree", phone=True)
        page = shown.page
        for name in ("h", "long", "toString"):
            page.locator(f".leaf button:text-is('{name}')").first.click()
        page.wait_for_selector("output:text-is('\"hasOwnProperty\"')")
        page.wait_for_selector("output:has-text('(60.0 kB)')")
        assert len(page.inner_text("main")) < 10_000
        for view in (*VIEWS, "Why=/long", "Why=/h/__proto__", "Why=%", *INHERITED):
            page.goto(f"{shown.url}#{view}")
            named = view.partition("=")[0] if view[0].isupper() else "Overview"
            page.wait_for_selector(f"nav a[aria-current=page]:text-is('{named}')")
            page.wait_for_selector(".view > *")
            if view == "Clients":
                page.wait_for_selector("b:text-is('constructor')")
                page.wait_for_selector("code:has-text('mqtt:__proto__')")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        assert page.query_selector("main b b") is None
        assert shown.faults == []
        shown.close()
    device.socket.close()


def test_a_box_whose_id_every_object_has(browser: Browser) -> None:
    with Daemon() as hub:
        link = uplink(hub.ws_url, "hub", owns=["/b/**"])
        with Daemon(config='name = "toString"\n' + link, sets={"federation.router_id": "constructor"}) as box:
            await_up(box, "hub")
            shown = Shown(browser, hub, path="#Boxes")
            shown.page.wait_for_selector("li[aria-label='toString'] code:text-is('constructor')")
            # Before the report is there, and after the box is forgotten in it.
            shown.page.route("**/status.json", lambda route: route.fulfill(json={"federation": {"peers": {}}}))
            shown.page.goto(shown.url + "#Tree")
            shown.page.goto(shown.url + "#Boxes")
            shown.page.wait_for_selector("li[aria-label='toString'] code:text-is('constructor')")
            assert "This view failed" not in shown.text()
            assert shown.faults == []
            shown.close()


def test_a_router_of_another_version(browser: Browser) -> None:
    """The tab was open while the router was updated, or an older one put back: views say so, none is empty."""

    def older(route: Route) -> None:
        route.fulfill(status=400, body="over HTTP there are kick, resync\n")

    daemon = Daemon(mqtt=True)
    daemon.start()
    shown = Shown(browser, daemon)
    page = shown.page
    page.wait_for_selector("text=All is well")
    page.route("**/page/version", lambda route: route.fulfill(body="another"))
    page.route("**/ask?**", older)
    page.route("**/status.json", lambda route: route.fulfill(json={"router": {"version": "0.0.1"}}))
    page.route("**/clients.json", lambda route: route.fulfill(json={}))
    page.route("**/tree.json?**", lambda route: route.fulfill(json={}))
    daemon.stop()
    page.wait_for_selector("text=No connection to the router")
    daemon.start()
    page.wait_for_selector("[role=alert]:has-text('The router has another version now.')")
    shown.picture("other-version")
    for view in VIEWS:
        page.goto(f"{shown.url}#{view}")
        page.wait_for_selector(".view > :nth-child(2)")
        eventually(lambda: len(page.inner_text(".view")) > 80)  # the banner is 57
    page.unroute_all()
    page.click("button:text-is('Load the page again')")
    page.wait_for_selector("[role=alert]", state="detached")
    shown.close()
    daemon.stop()


def test_settings_that_are_none(browser: Browser, daemon: Daemon) -> None:
    """What no form of the page sends is refused with a sentence, changes nothing, and the form is still there."""
    shown = Shown(browser, daemon, path="#Setup")
    page = shown.page
    page.wait_for_selector("summary")
    post = """async body => {
        const answer = await fetch("ask", { method: "POST", headers: { "Content-Type": "application/json" }, body });
        return [answer.status, await answer.text()];
    }"""
    asked = {"request": "settings", "action": "try"}
    wrong = [
        "", "{", "[1]", "null", json.dumps(asked), json.dumps(asked | {"changes": []}),
        json.dumps(asked | {"changes": {"limits.max_sessions": {"a": 1}}}),
        json.dumps(asked | {"changes": {"no.such": 1}}), json.dumps(asked | {"changes": {"__proto__": 1}}),
        json.dumps(asked | {"changes": {"limits.max_sessions": "x" * 60_000}}),
        json.dumps(asked | {"changes": {"log.level": "\0"}}), '{"request": "settings", "action": ' + "[" * 20_000,
    ]  # fmt: skip
    for body in wrong:
        status, text = page.evaluate(post, body)
        assert status in (200, 400, 413), (status, body[:80])
        assert status != 200 or json.loads(text)["ok"] is False, (body[:80], text[:200])
        assert "Traceback" not in text
        assert len(text) < 2000
    assert "Traceback" not in daemon.stderr
    page.fill("input[aria-label='Search options']", "max_sessions")
    page.fill("#option-limits-max_sessions", "many")
    page.click("button:text-is('Check')")
    page.wait_for_selector("[role=alert]:has-text('limits.max_sessions')")
    assert not (daemon.data_dir / "settings.toml").exists()
    shown.close()
