"""Set-up on the page in a browser: QR codes that other programs read, and updates with their progress and refusal."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser
from support.box_program import PROGRAM, program
from support.browser import Shown, chromium
from support.daemon import Daemon
from support.updates import board_program

from clasp_edge.console import box_file
from clasp_edge.console.upload import VARIABLE


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


MODULES = """canvas => {
    const { width, height } = canvas, data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const module = at => data[4 * at] < 128 ? "#" : " ";
    const row = y => Array.from({ length: width }, (_, x) => module(y * width + x)).join("");
    return Array.from({ length: height }, (_, y) => row(y));
}"""

CORNER = ("#######", "#     #", "# ### #", "# ### #", "# ### #", "#     #", "#######")
QUIET = 4


def test_a_token_is_shown_as_a_code_and_brought_by_a_link(browser: Browser) -> None:
    with Daemon() as daemon:
        shown = Shown(browser, daemon, path="#Setup")
        page = shown.page
        page.on("dialog", lambda dialog: dialog.accept())
        page.wait_for_selector("text=This browser has opened the page as localhost")
        page.click("button:text-is('Claim this router')")
        admin = page.inner_text("#admin-token")
        page.wait_for_selector("button:text-is('Log out')")
        rows = page.locator("figure.qr canvas").first.evaluate(MODULES)
        side = len(rows) - 2 * QUIET
        assert side >= 21
        assert side % 4 == 1
        for top, left in ((0, 0), (0, side - 7), (side - 7, 0)):
            found = [row[QUIET + left : QUIET + left + 7] for row in rows[QUIET + top : QUIET + top + 7]]
            assert tuple(found) == CORNER
        assert not "".join(rows[:QUIET] + [row[:QUIET] for row in rows]).strip()
        page.locator("figure.qr canvas").first.scroll_into_view_if_needed()
        shown.picture("qr")
        # What a code of the page brings is taken out of the address at once.
        page.goto("about:blank")
        page.goto(f"{shown.url}#token={admin}")
        page.wait_for_selector("button:text-is('Log out')")
        assert "token=" not in page.url
        assert shown.faults == []
        shown.close()


def test_an_update_that_is_not_signed(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run/clasp-edge-board"
    run.mkdir(parents=True)
    (run / "boot").write_text("booted=a\nslot=a\ntrying=\nfailed=\ndisk=x\npartition=x\n")
    file = tmp_path / "wrong.update"
    file.write_bytes(os.urandom(2_000_000))
    with board_program(tmp_path) as path:
        monkeypatch.setenv(VARIABLE, str(path))
        with Daemon() as daemon:
            shown = Shown(browser, daemon, path="#Setup")
            page = shown.page
            page.set_input_files("#update-file", str(file))
            page.click("button:text-is('Install')")
            page.wait_for_selector("p.bad:has-text('Refused: Not installed: this is not an update for clasp-edge')")
            shown.picture("update-refused")
            found = Axe().run(page)
            assert [each["id"] for each in found.response["violations"]] == []
            assert shown.faults == []
            shown.close()


def test_elsewhere_the_page_says_where_updates_come_from(browser: Browser) -> None:
    with Daemon() as daemon:
        shown = Shown(browser, daemon, path="#Setup", phone=True)
        shown.page.wait_for_selector("text=updates come by the package here")
        assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shown.close()


def test_the_settings_for_another_box_are_downloaded(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = tmp_path / "box/data/settings"
    accepted.mkdir(parents=True)
    (accepted / "network.txt").write_text("ntp = 10.0.0.1\n")
    with program(tmp_path, sys.executable, "-c", PROGRAM, tmp_path / "box") as path:
        monkeypatch.setenv(box_file.VARIABLE, str(path))
        with Daemon() as daemon:
            shown = Shown(browser, daemon, path="#Setup")
            with shown.page.expect_download() as download:
                shown.page.click("button:text-is('clasp-edge-box.zip')")
            assert download.value.suggested_filename == "clasp-edge-box.zip"
            with zipfile.ZipFile(download.value.path()) as box:
                assert b"ntp = 10.0.0.1" in box.read("network.txt")
            assert shown.faults == []
            shown.close()
