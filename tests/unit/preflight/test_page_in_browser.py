"""The fleet's page in a real browser: counts, filter, search, a cell's text, hostile hosts, no console errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.preflight.browser import Browser
from tests.unit.preflight.cases import simulated_fleet
from trigger.preflight.page import page_lines
from trigger.preflight.rows import row_of

pytestmark = pytest.mark.lab

HOSTILE = "</script ><img src=https://192.0.2.1/x onerror=alert(1)>\\u202e"


def write_page(path: Path, count: int) -> list[dict[str, Any]]:
    rows = [row_of(result) for result in simulated_fleet(count)]
    rows[3]["host"] = HOSTILE
    rows[3]["problem"] = "banner: <b onmouseover=alert(2)>'\"`{{7*7}}</b>"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in page_lines(lambda: iter(rows), 1_795_413_871.0))
    return rows


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    path = tmp_path_factory.mktemp("page") / "fleet.html"
    return path, write_page(path, 1000)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile", 1400, 1000) as opened:
        yield opened


def press(browser: Browser, selector: str) -> None:
    browser.value(f"document.querySelector({selector!r}).click()")


def test_counts_filter_and_search(browser: Browser, fleet: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = fleet
    browser.open(path)
    ready = sum(row["state"] == "ready" for row in rows)
    failing = sum(any(f["check"] == "kdump-loaded" and f["verdict"] != "pass" for f in row["findings"]) for row in rows)
    assert browser.value("document.querySelector('[data-state=\"\"]').textContent") == "all 1000"
    assert browser.value("document.querySelector('[data-state=ready]').textContent") == f"ready {ready}"
    press(browser, "[data-state=ready]")
    assert browser.value("document.getElementById('shown').textContent") == f"{ready} of 1000 hosts (ready)"
    press(browser, "#clear")
    press(browser, "[data-check=kdump-loaded]")
    assert browser.value("document.getElementById('shown').textContent").startswith(f"{failing} of 1000 hosts")
    press(browser, "#clear")
    browser.value(
        "(() => { const s = document.getElementById('search'); s.value = 'server00042';"
        " s.dispatchEvent(new Event('input')); })()"
    )
    assert browser.value("document.querySelectorAll('tbody tr').length") == 1
    assert browser.value("document.querySelector('tbody th button').textContent") == "server00042"
    assert browser.messages == []


def test_a_cell_opens_its_finding_with_the_remedy(browser: Browser, fleet: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = fleet
    browser.open(path)
    row, finding = next(
        (row, f)
        for row in rows
        for f in row["findings"]
        if f["check"] == "nmi-settings" and f["verdict"] == "fail" and row["host"] != HOSTILE
    )
    browser.value(
        "(() => { const s = document.getElementById('search'); s.value = '" + row["host"] + "';"
        " s.dispatchEvent(new Event('input')); })()"
    )
    press(browser, "td[data-route=nmi][data-stage=panic] button")
    assert browser.value("document.getElementById('dialog').open") is True
    shown = browser.value("document.getElementById('dialog-body').textContent")
    assert finding["says"] in shown
    assert finding["remedy"][-1] in shown
    assert "sysrq-mask" not in shown
    assert browser.messages == []


def test_a_hostile_host_is_text(browser: Browser, fleet: tuple[Path, list[dict[str, Any]]]) -> None:
    path, _ = fleet
    browser.open(path)
    browser.value("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.value("document.querySelectorAll('tbody tr').length") == 1000, "all are printed"
    names = browser.value("[...document.querySelectorAll('tbody th button')].map((b) => b.textContent)")
    assert HOSTILE in names
    assert browser.value("document.querySelectorAll('img, b[onmouseover]').length") == 0
    browser.value(
        f"[...document.querySelectorAll('tbody th button')].find((b) => b.textContent === {HOSTILE!r}).click()"
    )
    assert "{{7*7}}" in browser.value("document.getElementById('dialog-body').textContent")
    assert browser.messages == []


def test_nothing_foreign_runs_or_loads(browser: Browser, fleet: tuple[Path, list[dict[str, Any]]]) -> None:
    path, _ = fleet
    browser.open(path)
    browser.value(
        "(() => { const i = document.createElement('img'); i.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=';"
        " document.body.append(i); })()"
    )
    browser.wait_for("true")
    end = time.monotonic() + 20
    while not any("Content Security Policy" in message for message in browser.messages):
        assert time.monotonic() < end, "the policy let an image in"
        browser.value("1")


def test_a_phone_needs_no_sideways_scrolling(tmp_path: Path, fleet: tuple[Path, list[dict[str, Any]]]) -> None:
    path, _ = fleet
    with Browser(tmp_path / "profile", 500, 844) as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        browser.open(path)
        assert browser.value("innerWidth") == 390
        assert browser.value("document.documentElement.scrollWidth") <= 390


def test_five_thousand_hosts(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    rows = write_page(path, 200)
    with path.open("w", encoding="utf-8") as file:
        many = ({**row, "host": f"{row['host']}-{turn}"} for turn in range(25) for row in rows)
        repeated = list(many)
        file.writelines(line + "\n" for line in page_lines(lambda: iter(repeated), 0.0))
    assert path.stat().st_size < 10e6
    begin = time.monotonic()
    browser.open(path)
    assert time.monotonic() - begin < 10
    assert browser.value("document.getElementById('shown').textContent") == "5000 of 5000 hosts"
    assert browser.messages == []
