"""The page as a browser shows it: charts drawn, nothing fetched, no errors, readable on a phone and by a screen reader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.fairness.report import FairnessReport
from sb3_grpo.fairness.report.figures import in_order
from tests.headless_browser import Page, open_browser
from tests.test_fairness_report import HOSPITAL, RENAMED, play

PHONE = 390
"""Width of a small phone in CSS pixels."""

DRAWN = "document.documentElement.dataset.charts"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> FairnessReport:
    """Names that are as long and as hostile as they come, and every section that there is."""
    folder = tmp_path_factory.mktemp("training")
    np.savez(folder / "evaluations.npz", timesteps=[1, 2, 3], worst=[0.5, 0.6, 0.7])

    def hostile(episodes: EpisodeSet) -> EpisodeSet:
        return EpisodeSet(**{**episodes.__dict__, "group_names": RENAMED})

    played = {rule: hostile(play(rule, 20)) for rule in ("first-come", "triage")}
    played["<img src=x onerror=document.title='broken'> " + "long" * 30] = hostile(play("c-mu", 20))
    levers = {"nothing changed": played["triage"]}
    training = {"run": folder / "evaluations.npz"}
    return FairnessReport(played, scenario=HOSPITAL, counterfactuals=levers, training=training, title="</title><b>Title")


@pytest.fixture(scope="module")
def page(report: FairnessReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.to_html(path)
    with open_browser() as page:
        page.resize(1280, 900)
        page.open(path.as_uri(), until=DRAWN)
        yield page


def test_no_errors_and_no_requests(page: Page) -> None:
    assert page.named("Runtime.exceptionThrown") == []
    assert page.named("Runtime.consoleAPICalled") == []
    assert page.named("Log.entryAdded") == []  # among them what the page\'s own policy refused
    requests = [event["request"]["url"] for event in page.named("Network.requestWillBeSent")]
    assert len(requests) == 1 and requests[0].startswith("file://") and requests[0].endswith("/report.html")
    assert page.evaluate("document.title") == "</title><b>Title"


def test_the_page_can_fetch_nothing(page: Page) -> None:
    """Nor run a script that somebody smuggled in: the page\'s policy refuses both."""
    before = len(page.named("Network.requestWillBeSent"))
    fetched = "fetch('https://example.org/').then(() => 'fetched', () => 'refused')"
    assert page.evaluate(fetched) == "refused"
    script = "const s = document.createElement('script'); s.textContent = 'window.smuggled = 1'; document.body.append(s)"
    page.evaluate(f"{{ {script}; 0 }}")
    assert page.evaluate("typeof window.smuggled") == "undefined"
    assert len(page.named("Network.requestWillBeSent")) == before


def test_every_chart_is_drawn(page: Page, report: FairnessReport) -> None:
    sizes = page.evaluate(
        "[...document.querySelectorAll('.chart')].map(chart => {"
        " const box = (chart.querySelector('.main-svg') || chart).getBoundingClientRect();"
        " const marks = chart.querySelectorAll('.bars path, .scatterlayer path').length;"
        " return [chart.id, box.width, box.height, marks]; })"
    )
    names = {name for name, *_ in sizes}
    waits = {f"waits-chart-{k}" for k in range(len(report.findings.group_names))}
    assert names == {"groups-chart", "changes-chart", "front-chart", "resources-chart", "training-worst", *waits}
    assert all(width > 200 and height > 150 and marks > 0 for _, width, height, marks in sizes)


def test_the_group_table_is_in_the_accessibility_tree(page: Page, report: FairnessReport) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in nodes}

    def name_of(node: dict[str, Any]) -> str:
        return str(node.get("name", {}).get("value", ""))

    def within(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("childIds", []):
            yield from within(by_id[child])

    def role_of(node: dict[str, Any]) -> str:
        return str(node.get("role", {}).get("value", ""))

    tables = [node for node in nodes if role_of(node) == "table"]
    groups = next(table for table in tables if name_of(table).startswith("Benefit rate by group"))
    inside = list(within(groups))
    headers = {name_of(node) for node in inside if role_of(node) == "rowheader"}
    assert set(report.findings.group_names) <= headers
    columns = [name_of(node) for node in inside if role_of(node) == "columnheader"]
    assert columns == ["group", "patients", *in_order(report.findings)]
    cells = " ".join(name_of(node) for node in inside if role_of(node) in ("cell", "gridcell"))
    assert str(report.findings.counted[0]) in cells and "%" in cells
    images = [name_of(node) for node in nodes if role_of(node) in ("image", "img", "figure")]
    assert "Bars: benefit rate of each group" in images
    headings = [name_of(node) for node in nodes if role_of(node) == "heading"]
    assert headings[0] == "</title><b>Title" and "Who gains, who loses" in headings


def test_a_phone_scrolls_one_way_only(page: Page) -> None:
    page.resize(PHONE, 844, mobile=True)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE
    widths = page.evaluate("[...document.querySelectorAll('.chart .main-svg')].map(svg => svg.getBoundingClientRect().right)")
    assert widths and max(widths) <= PHONE
    page.resize(1280, 900)


def test_the_keyboard_reaches_what_scrolls_and_folds(page: Page) -> None:
    focusable = "a[href], summary, [tabindex='0']"
    assert page.evaluate(f'document.querySelectorAll("{focusable}").length') > 10
    order = []
    for _ in range(3):
        for kind in ("rawKeyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        order.append(page.evaluate("document.activeElement.getAttribute('href')"))
    assert order == ["#main", "#next", "#groups"]


def test_paper_shows_everything(page: Page) -> None:
    """What is folded away is open while printing and folded again afterwards; charts fit the paper."""
    opened = "document.querySelectorAll('details:not([open])').length"
    folded = page.evaluate(opened)
    assert folded > 0
    printed = page.call("Page.printToPDF", preferCSSPageSize=True)
    assert len(printed["data"]) > 50_000
    assert page.evaluate(opened) == folded


def test_a_page_without_scripts_has_every_number(report: FairnessReport, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.to_html(path)
    with open_browser() as page:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.open(path.as_uri(), until="document.readyState === 'complete'")
        text = page.evaluate("document.querySelector('main').innerText")
    assert "Charts need JavaScript" in text and report.decision in text and "n = 20" in text
