"""Debian's Chromium without a screen, driven by Playwright: a page of the router's, and what went wrong on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from support.daemon import PROJECT_ROOT, Daemon
from support.needs import program

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
TIMEOUT_MS = 20_000
SCREENSHOTS = PROJECT_ROOT / "build" / "screenshots"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Raises `needs.Missing`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium", "browser"), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Shown:
    """The router's page in a fresh browser profile. `faults` are errors of scripts, refused loads and broken policies;
    `asked` is every address that was asked for."""

    def __init__(
        self, browser: Browser, daemon: Daemon, *, path: str = "", phone: bool = False, encrypted: bool = False
    ) -> None:
        self.faults: list[str] = []
        self.asked: list[str] = []
        self._context = browser.new_context(
            viewport=PHONE if phone else DESKTOP, locale="en-GB", ignore_https_errors=True
        )  # type: ignore[arg-type]
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self.asked.append(request.url))
        host, port = daemon.address_pair("wss" if encrypted else "ws")
        self.url = f"{'https' if encrypted else 'http'}://{host}:{port}/"
        self.page.goto(self.url + path)

    def picture(self, name: str) -> Path:
        """Keep what is to be seen, for people."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def text(self) -> str:
        return self.page.inner_text("main")

    def close(self) -> None:
        self._context.close()
