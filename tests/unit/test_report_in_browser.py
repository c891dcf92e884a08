"""The report in a real browser: no message on its console, nothing asked for, hostile text as text, any width."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit import incidents
from tests.unit.incidents import Incident
from tests.unit.preflight.browser import Browser
from trigger.report.files import find, rendered

pytestmark = pytest.mark.lab


def test_the_report_in_a_browser(tmp_path: Path) -> None:
    makers: dict[str, Callable[[Path], Incident]] = {"whole": incidents.whole, "silent": incidents.silent}
    with Browser(tmp_path / "profile", 1400, 1000) as browser:
        for name, make in makers.items():
            made = make(tmp_path / name)
            page = tmp_path / f"{name}.html"
            page.write_text(rendered(find(made.state), "html"))
            for width in (400, 1400):
                for scheme in ("light", "dark"):
                    shown(browser, page, width, scheme)
            if name == "whole":
                hostile_text_is_text(browser)
        assert browser.messages == []


def shown(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", url=page.as_uri())
    browser.wait_for(f"document.readyState === 'complete' && location.href.endsWith('{page.name}')")
    assert browser.value("document.documentElement.scrollWidth") <= width, (page.name, width)
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme], "the style sheet holds"
    outside = (
        "[...document.querySelectorAll('svg text')].filter((t) => t.getBoundingClientRect().right > innerWidth + 1)"
    )
    assert browser.value(f"{outside}.length") == 0, "the picture's words fit"


def hostile_text_is_text(browser: Browser) -> None:
    assert browser.value("document.querySelectorAll('img, script, [onmouseover]').length") == 0
    said = browser.value("document.querySelector('.console').textContent")
    assert "</pre></script><img src=https://192.0.2.1/x onerror=alert(1)>" in said
    assert "{{7*7}}" in said
    assert "Kernel panic" in browser.value("document.querySelector('mark.alarm').textContent")
