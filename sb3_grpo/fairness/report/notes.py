"""How the numbers of a report were found, for its last section."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

import numpy as np

from sb3_grpo.fairness.inference.max_t import MIN_EPISODES
from sb3_grpo.fairness.inference.pairing import NEGATIVE_CONTROLS, negative_control
from sb3_grpo.fairness.metrics import MIN_PATIENTS
from sb3_grpo.fairness.report.findings import Findings, resampler
from sb3_grpo.fairness.report.sources import Source
from sb3_grpo.fairness.report.wording import capital, level_text, percent

_LIBRARIES: Final = ("sb3-grpo", "stable-baselines3", "gymnasium", "torch", "numpy", "scipy", "statsmodels", "plotly")


def notes(findings: Findings, sources: Mapping[str, Source], facts: dict[str, str]) -> dict[str, str]:
    """What a reader must know to judge or to repeat the report.

    :param findings: what was found
    :param sources: the policies
    :param facts: what else shall be said
    :return: texts by name
    """
    setting = findings.setting
    source = sources[setting.subject]
    result = {
        "Unit": (
            f"The episode, n = {findings.n_episodes}. Patients of one episode share beds and queues, so they are not "
            "independent and never the unit. Intervals say how well these episodes measure these policies, not how much "
            "another training of the same algorithm would differ."
        ),
        "Rate": setting.meaning,
        "What is counted": _counted(findings),
        "Efficiency": "All benefit less all cost, divided by all demand.",
        "Intervals": (
            f"{level_text(findings.confidence)}: studentised bootstrap of whole episodes (below {MIN_EPISODES} episodes "
            "Student's t with Bonferroni's correction), simultaneous for the groups of a policy. Those of worst, best and gap "
            "follow from them and hold when groups tie. Rates are pooled over episodes before the worst and the gap are taken."
        ),
    }
    if setting.reference is not None:
        result["Comparison"] = (
            f"Paired by episode against {setting.reference}: the same patients under every policy (common random numbers)."
        )
    invalid = [f"{name}: {percent(source.invalid_share)}" for name, source in sources.items() if source.invalid_share > 0]
    if invalid:
        result["Invalid actions"] = f"Share of decisions in which the triage rule acted instead. {'; '.join(invalid)}."
    if setting.by != ("group",):
        result["Groups"] = f"By {', '.join(setting.by)}."
    result |= {f"{key[:1].upper()}{key[1:]}": value for key, value in {**setting.facts, **facts}.items()}
    if source.episodes is not None and "Arrivals" not in facts:  # replayed patients may differ by sex in other ways too
        checked = [
            negative_control(source.episodes.records, findings.n_episodes, resampler(setting.seed), attribute).message
            for attribute in NEGATIVE_CONTROLS
        ]
        result["Negative controls"] = (
            "Sex and deprivation quintile touch nothing in a simulated hospital, so no gap by them is to be found. "
            f"{capital('; '.join(checked))}."
        )
    metrics = findings.subject.metrics
    if metrics is not None and metrics.messages:
        result["Notes on the records"] = "; ".join(metrics.messages) + "."
    result["Versions"] = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return result


def _counted(findings: Findings) -> str:
    text = (
        "Every patient of the counted time, also those who left, died or were still waiting: they count with the benefit they "
        f"got, none. A group with fewer than {MIN_PATIENTS} counted patients reads \u201cinsufficient\u201d."
    )
    scenario = findings.setting.scenario
    if scenario is None:
        return text
    last = scenario.horizon_hours - scenario.counted_tail
    text += f" Counted are arrivals from hour {scenario.counted_from:g} to hour {last:g} of {scenario.horizon_hours:g}."
    costs = findings.subject.cost_share
    return text if np.isnan(costs) else f"{text} Costs are those of the same hours."
