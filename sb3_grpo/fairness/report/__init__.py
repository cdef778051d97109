"""Reports of what policies do to groups.

=================== ================================================================================================
report.py           :class:`FairnessReport`
sources.py          what a report is made from, in one form
findings.py         everything it says, as numbers
decision.py         the sentence on top, and the levelling-down check
recommendations.py  what to look at next, each from a rule
counterfactuals.py  what a change of the hospital would do
waits.py, curves.py waits, training curves
contents.py         all of it together, of which the page, JSON and terminal are made
sections.py         the page's sections (disparity.py, operations.py) of elements.py and figures.py
page.py             the page, with page.css and page.js
document.py         JSON and the tidy table; picture.py the PNG; terminal.py the terminal; event_log.py the events
=================== ================================================================================================
"""

from sb3_grpo.fairness.report.counterfactuals import default_levers, paired_counterfactuals
from sb3_grpo.fairness.report.event_log import event_log
from sb3_grpo.fairness.report.report import FairnessReport

__all__ = ["FairnessReport", "default_levers", "event_log", "paired_counterfactuals"]
