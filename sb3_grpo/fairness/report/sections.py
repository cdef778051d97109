"""The sections of the page in their order: a chart, what it shows in words, its numbers as a table."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.report import disparity, elements, operations
from sb3_grpo.fairness.report.contents import Contents
from sb3_grpo.fairness.report.findings import EFFICIENCY
from sb3_grpo.fairness.report.wording import (
    level_text,
    p_value,
    plain,
)


def tests(contents: Contents) -> str:
    """Tests of every policy against the reference."""
    found, scale = contents.findings, contents.scale
    if not found.tests:
        return ""
    rows = [
        [
            row.policy,
            row.quantity if row.quantity == EFFICIENCY else f"{found.setting.rate}, {row.quantity}",
            scale.with_limits(row.change, change=True),
            p_value(row.p_value),
            p_value(row.adjusted),
            _effect(row.effect),
        ]
        for row in found.tests
    ]
    # The policy that the report is about comes first.
    rows.sort(key=lambda row: row[0] != found.setting.subject)
    caption = (
        f"Against {found.setting.reference}. Unit: the episode, n = {found.n_episodes} pairs: the same patients under both "
        f"policies. Intervals ({level_text(found.confidence)}) hold for all groups of a policy together; p by a sign-flip "
        f"test of the paired differences, corrected after Holm for all {len(rows)} tests; d: mean difference in its own "
        "standard deviations between episodes."
    )
    columns = ["policy", "quantity", "change", "p", "p, corrected", "d (interval)"]
    return elements.section(
        "tests",
        "Significance",
        elements.paragraph(
            "Worst-off group and gap are extremes of several rates: they are judged by their intervals, under “Who gains, who "
            "loses”, not by a test. Patients of one episode share beds and queues, so patients are never the unit."
        ),
        elements.table("tests-table", caption, columns, rows),
    )


def _effect(effect: Interval) -> str:
    if np.isnan(effect.value):
        return "not known: no spread"
    return f"{plain(effect.value, 2)} ({plain(effect.low, 2)} to {plain(effect.high, 2)})"


def method(contents: Contents) -> str:
    """How the numbers were found, and what they are not."""
    return elements.section("method", "Method", elements.facts(contents.notes, "notes"))


def recommendations(contents: Contents) -> str:
    """What to look at next."""
    if not contents.recommendations:
        return ""
    items = "".join(
        f"<li><strong>{elements.text(item.about)}.</strong> {elements.text(item.text)} "
        f'<span class="note">Rule: {elements.text(item.rule)}</span></li>'
        for item in contents.recommendations
    )
    return elements.section("next", "What to look at next", f'<ol class="recommendations">{items}</ol>')


SECTIONS: Final[Sequence[tuple[str, str, Callable[[Contents], str]]]] = (
    ("next", "What to look at next", recommendations),
    ("groups", "Groups", disparity.groups),
    ("changes", "Who gains, who loses", disparity.changes),
    ("front", "Efficiency", disparity.front),
    ("waits", "Waiting", operations.waits),
    ("resources", "Beds and nurses", operations.resources),
    ("levers", "What if", operations.levers),
    ("training", "Training", operations.training),
    ("tests", "Significance", tests),
    ("method", "Method", method),
)
"""Address, short name and maker of every section, in the order of the page; one that has nothing to say is left out."""
