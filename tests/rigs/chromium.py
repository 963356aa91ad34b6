"""Debian's Chromium, headless, driven by Playwright; and axe-core, which finds what keeps people out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from .processes import find_binary, first_line

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing beyond loopback
]
_GRAVE = ("serious", "critical")


@dataclass(frozen=True)
class Violation:
    """One accessibility rule that a page breaks."""

    rule: str
    impact: str
    help: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.impact}: {self.rule}: {self.help} at {'; '.join(self.places)}"


class Chromium:
    """One browser; every `page()` is a fresh profile in it."""

    def __init__(self) -> None:
        self._binary = find_binary("chromium", "/usr/bin")
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the browser."""
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=self._binary, headless=True, args=_ARGUMENTS
        )

    def stop(self) -> None:
        """Close the browser with all its pages."""
        if self._browser is not None:
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()
        self._browser = self._playwright = None

    @contextlib.contextmanager
    def page(
        self,
        theme: Literal["light", "dark"] = "light",
        *,
        width: int = 1280,
        height: int = 900,
        locale: str = "en",
        javascript: bool = True,
        trust_any_certificate: bool = False,
    ) -> Iterator[Page]:
        """Open a page with no cookies, in a colour scheme, a window size and a language (`en`, `zh-CN`)."""
        if self._browser is None:
            raise RuntimeError("the browser is not started")
        context = self._browser.new_context(
            color_scheme=theme,
            viewport={"width": width, "height": height},
            locale=locale,
            java_script_enabled=javascript,
            ignore_https_errors=trust_any_certificate,
            reduced_motion="reduce",
        )
        try:
            page = context.new_page()
            page.set_default_timeout(10_000)
            yield page
        finally:
            context.close()


def axe_violations(page: Page) -> list[Violation]:
    """Run axe-core on a page and return what is serious or critical. A strict CSP does not stop it."""
    only_these = {"resultTypes": ["violations"]}  # the rest need not be told in full: half the time
    found = Axe().run(page, options=only_these).response["violations"]
    return [
        Violation(
            rule=one["id"],
            impact=one["impact"],
            help=one["help"],
            places=tuple(" ".join(map(str, node["target"])) for node in one["nodes"]),
        )
        for one in found
        if one["impact"] in _GRAVE
    ]


def version() -> str:
    """The version of the Chromium that would be started."""
    return first_line([find_binary("chromium", "/usr/bin"), "--version"]).removeprefix("Chromium ")
