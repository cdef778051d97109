"""The whole report: Markdown, figures and the headline numbers."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sb3_grpo.common.files import write_json, write_text
from sb3_grpo.study.report import claims, comparisons, descriptions
from sb3_grpo.study.report.data import BASELINE, Results, read_results, values
from sb3_grpo.study.report.figures import draw_all
from sb3_grpo.study.report.primary import against_rule, over_trainings, primary

_SECTIONS: Final[tuple[tuple[str, Callable[[Results], str], str], ...]] = (
    ("The comparison fixed beforehand", comparisons.primary_comparison, ""),
    ("Each group", comparisons.groups, "groups.png"),
    ("Against the tuned rules", comparisons.against_rules, ""),
    ("Claim by claim", claims.claims, ""),
    ("Every policy", descriptions.every_row, "lam.png"),
    ("The rules in use", descriptions.rules_in_use, ""),
    ("Every lam against lam=0", comparisons.by_lam, ""),
    ("Efficiency and the worst-off group", descriptions.pareto, "pareto.png"),
    ("Waits and success", descriptions.waits_and_success, ""),
    ("Drawn and most likely actions", comparisons.modes, ""),
    ("Changed hospitals", comparisons.elsewhere, ""),
    ("Learning", descriptions.learning, "learning.png"),
    ("Sensitivity", comparisons.sensitivity, "sensitivity.png"),
    ("Where the uncertainty comes from", descriptions.uncertainty, ""),
    ("How lam was chosen", comparisons.choice_of_lam, ""),
)
_CAPTIONS: Final = {
    "groups.png": "Change of each group's benefit rate from lam=0 to the chosen lam, with 95 % limits over trainings",
    "lam.png": "Gap, worst group and efficiency by lam: a dot is a training, the line their mean",
    "pareto.png": "Every policy by efficiency and worst group; further up and to the right is better, the front is dotted",
    "learning.png": "Validation episodes during training: mean of the trainings, and their range",
    "sensitivity.png": "One setting changed at a time: a stroke is a training; from three on their mean with 95 % limits",
}


def write_report(folders: Sequence[Path], markdown: Path, figures: Path) -> list[Path]:
    """Write a report.

    :param folders: of one or several studies
    :param markdown: the Markdown file; the headline numbers go beside it, as ``.json``
    :param figures: folder of the figures
    :return: the files
    :raises StudyError: if there is nothing to report
    """
    results = read_results(folders)
    drawn = draw_all(results, figures)
    names = {path.name for path in drawn}
    where = Path(os.path.relpath(figures, markdown.parent)).as_posix()
    parts = ["# Results of the study", _introduction(results, folders, markdown, figures)]
    for heading, section, figure in _SECTIONS:
        content = section(results)
        if content or figure in names:
            parts.append(f"## {heading}")
        if content:
            parts.append(content.rstrip())
        if figure in names:
            parts.append(f"![{_CAPTIONS[figure]}]({where}/{figure})\n\n*{_CAPTIONS[figure]}.*")
    numbers = markdown.with_suffix(".json")
    write_text(markdown, "\n\n".join(parts) + "\n")
    write_json(numbers, headline(results))
    return [markdown, numbers, *drawn]


def _introduction(results: Results, folders: Sequence[Path], markdown: Path, figures: Path) -> str:
    words = ["sb3-grpo", "report", *map(str, folders), "--markdown", str(markdown), "--figures", str(figures)]
    command = shlex.join(words)
    trainings = len(results.trained)
    lines = [
        f"Written by `{command}`. {trainings} trainings and {len(results.played)} tests of policies in {_hospitals(results)}.",
        "A group's benefit rate is the share of the ideal benefit (immediate treatment in the right bed) that it received, "
        "pooled over all test episodes before worst and gap are taken; gap = best less worst rate. Efficiency: all benefit "
        "less all cost, per demand. Limits in brackets are 95 %, over trainings unless said otherwise. The size of a "
        "disparity is built into the hospitals' assumed numbers; only differences between policies are results. Research "
        "software: a simulator's results are not clinical evidence.",
    ]
    if not results.protocol.is_chosen:
        lines.append(
            "**lam is not chosen yet, so no policy has played test episodes: below is what validation episodes say.**"
        )
    if results.missing:
        shown = ", ".join(results.missing[:5]) + (", ..." if len(results.missing) > 5 else "")
        lines.append(f"**{len(results.missing)} runs of the study have no result ({shown}): numbers below lack them.**")
    said = "; ".join(", ".join(f"{name} {number}" for name, number in versions.items()) for versions in results.versions)
    lines.append(f"Versions: {said}.")
    if len(results.versions) > 1:
        lines.append("**Results were made with different versions.**")
    return "\n\n".join(lines)


def _hospitals(results: Results) -> str:
    return f"{len(results.scenarios)} hospital{'s' if len(results.scenarios) > 1 else ''}: {', '.join(results.scenarios)}"


def headline(results: Results) -> dict[str, Any]:
    """The numbers that a front page may quote, by hospital; None where one does not exist."""
    found = {each.against.scenario: each for each in primary(results)}
    content: dict[str, Any] = {}
    for scenario, each in found.items():
        against, row = each.against, each.against.row
        content[scenario] = {
            "lam": results.protocol.lam[scenario],
            "trainings": list(against.n),
            "gap": {
                name: _known(over_trainings(values(results.tests(scenario, name), "gap")).value) for name in (BASELINE, row)
            },
            "gap_shrunk_by": _limits(against.reduction),
            "p_holm": each.p_corrected,
            "cohens_d": _limits(against.effect),
            "efficiency_kept": _limits(against.efficiency),
            "worst_group_change": _limits(against.worst.interval),
            "group_changes": {name: _limits(test.interval) for name, test in against.groups.items()},
            "levels_down": against.levels_down,
            "some_group_loses_more_than_worst_gains": against.harms_more_than_it_helps,
            "worst_less_tuned_triage": _limits(against_rule(results, scenario, row, "triage-tuned", "worst")),
            "efficiency_against_tuned_triage": _limits(
                against_rule(results, scenario, row, "triage-tuned", "efficiency", True)
            ),
            "baseline_against_tuned_c_mu": _limits(
                against_rule(results, scenario, BASELINE, "c-mu-tuned", "efficiency", True)
            ),
            "meets_target": each.meets_target,
        }
    return {"protocol": results.protocol.to_dict(), "hospitals": content}


def _limits(interval: Any) -> list[float | None]:
    return [_known(value) for value in (interval.value, interval.low, interval.high)]


def _known(value: float) -> float | None:
    return float(value) if value == value and abs(value) != float("inf") else None
