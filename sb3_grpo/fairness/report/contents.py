"""What the page, the JSON and the terminal are made of."""

from dataclasses import dataclass

from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.report.counterfactuals import Lever
from sb3_grpo.fairness.report.curves import TrainingCurve
from sb3_grpo.fairness.report.findings import Findings
from sb3_grpo.fairness.report.recommendations import Recommendation
from sb3_grpo.fairness.report.waits import WaitCurve
from sb3_grpo.fairness.report.wording import Scale


@dataclass(frozen=True, eq=False)
class Contents:
    """All that the page is made of.

    :param title: heading of the page
    :param findings: what was found
    :param decision: the decision in one sentence
    :param recommendations: what to look at next
    :param curves: curves of waits by policy and group, of the policy that the report is about and the reference
    :param used: share of each resource in use, by policy: those compared, if the use is known
    :param training: training runs
    :param levers: what changes of the hospital do
    :param notes: how the numbers were found, by name
    """

    title: str
    findings: Findings
    decision: str
    recommendations: tuple[Recommendation, ...]
    curves: dict[str, dict[str, WaitCurve]]
    used: dict[str, dict[str, Interval]]
    training: tuple[TrainingCurve, ...]
    levers: tuple[Lever, ...]
    notes: dict[str, str]

    @property
    def scale(self) -> Scale:
        """How rates are written."""
        return Scale(self.findings.setting.share)

    @property
    def compared(self) -> list[str]:
        """The policy that the report is about, and the reference if there is one."""
        setting = self.findings.setting
        return [setting.subject] + ([] if setting.reference is None else [setting.reference])
