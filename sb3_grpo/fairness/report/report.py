"""One report of what policies do to groups, for readers, for programs and for terminals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sb3_grpo.fairness.evaluation_data import EvaluationSet
from sb3_grpo.fairness.metrics import MIN_PATIENTS
from sb3_grpo.fairness.report import document, terminal
from sb3_grpo.fairness.report.contents import Contents
from sb3_grpo.fairness.report.counterfactuals import Lever, pull
from sb3_grpo.fairness.report.curves import read_curve
from sb3_grpo.fairness.report.decision import decide
from sb3_grpo.fairness.report.event_log import event_log
from sb3_grpo.fairness.report.findings import Findings, find, resource_use
from sb3_grpo.fairness.report.notes import notes
from sb3_grpo.fairness.report.page import render
from sb3_grpo.fairness.report.picture import draw
from sb3_grpo.fairness.report.recommendations import recommend
from sb3_grpo.fairness.report.sources import Evaluated, Setting, Source, read, read_one
from sb3_grpo.fairness.report.waits import wait_curves

if TYPE_CHECKING:
    import pandas as pd

    from hospital_gym.scenarios import Scenario


class FairnessReport:
    """What policies do to groups: decision, disparities with intervals, waits, tests, and what to look at next.

    Everything is computed once, when the report is made; what it writes afterwards is the same every time.

    :param evaluations: what :func:`sb3_grpo.fairness.evaluate.evaluate_policies` returned, or what each policy did on the same
        episodes, by name: episodes, an evaluation, a table of patients (:data:`sb3_grpo.fairness.records.COLUMNS`), or counts
    :param reference: policy that differences refer to; default: that of the evaluation, else the first of several
    :param subject: policy that the report is about; default: the first that is not the reference
    :param scenario: the hospital's numbers, for the notes; default: those of the evaluation
    :param by: columns of the patients that define the groups
    :param rate: what groups are compared by: ``"benefit_rate"``, ``"treated"``, ``"in_time"`` or another share of which more
        is better
    :param counterfactuals: what the policy that the report is about did on the same episodes in hospitals with one thing
        changed, by name of the change, see :func:`sb3_grpo.fairness.report.paired_counterfactuals`
    :param training: ``evaluations.npz`` or ``progress.csv`` of training runs, by name
    :param title: heading of the page
    :param facts: what else the notes shall say, by name
    :param seed: seed of the resamples, >= 0
    :raises ValueError: naming the argument, its value and what is accepted
    """

    def __init__(
        self,
        evaluations: EvaluationSet | Mapping[str, Evaluated],
        *,
        reference: str | None = None,
        subject: str | None = None,
        scenario: "Scenario | None" = None,
        by: str | Sequence[str] = "group",
        rate: str = "benefit_rate",
        counterfactuals: Mapping[str, Evaluated] | None = None,
        training: Mapping[str, str | Path] | None = None,
        title: str | None = None,
        facts: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        self.evaluations = evaluations
        self._sources, setting = read(evaluations, reference, subject, scenario, by, rate, seed)
        self.findings: Findings = find(self._sources, setting)
        source = self._sources[setting.subject]
        compared = [setting.subject] + ([] if setting.reference is None else [setting.reference])
        used = {name: resource_use(self._sources[name], seed) for name in compared}
        levers = _levers(source, setting, counterfactuals or {}, rate)
        self.contents = Contents(
            title=title or _title(setting),
            findings=self.findings,
            decision=decide(self.findings),
            recommendations=recommend(self.findings, source, used[setting.subject], levers),
            curves=_curves(self._sources, compared),
            used=used if all(used.values()) else {},
            training=tuple(read_curve(name, path) for name, path in (training or {}).items()),
            levers=tuple(levers),
            notes=notes(self.findings, self._sources, dict(facts or {})),
        )

    @property
    def decision(self) -> str:
        """The decision in one sentence."""
        return self.contents.decision

    def to_html(self, path: str | Path | None = None) -> str:
        """The report as one page that works offline.

        :param path: where to write it, if anywhere
        :return: the page
        """
        return _written(render(self.contents), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON, see :meth:`to_dict`.

        :param path: where to write it, if anywhere
        :return: the text
        """
        return _written(document.to_json(self.contents), path)

    def to_dict(self) -> dict[str, Any]:
        """The report as dictionaries, lists, numbers and strings, with ``schema`` and ``version``; None where there is no
        number."""
        return document.to_dict(self.contents)

    def to_frame(self) -> "pd.DataFrame":
        """One row per number, columns :data:`sb3_grpo.fairness.report.document.COLUMNS`."""
        return document.to_frame(self.findings)

    def to_png(self, path: str | Path) -> None:
        """Draw the group bars and the front.

        :param path: the PNG to write
        """
        draw(path, self.findings, self.contents.title)

    def to_table(self) -> Table:
        """The report as a table for the terminal."""
        return terminal.table(self.contents)

    def __rich__(self) -> Any:
        """The decision, the table and the recommendations, for ``rich.print``."""
        return terminal.summary(self.contents)

    def event_log(self, path: str | Path, policy: str | None = None) -> None:
        """Write what happened to every patient as CSV, see :func:`sb3_grpo.fairness.report.event_log`.

        :param path: the CSV to write
        :param policy: under which policy; default: the one that the report is about
        :raises ValueError: if there is no such policy, or its patients are not known
        """
        name = self.findings.setting.subject if policy is None else policy
        if name not in self._sources:
            raise ValueError(f"policy: got {name!r}, expected one of {list(self._sources)}")
        episodes = self._sources[name].episodes
        if episodes is None:
            raise ValueError(f"policy: {name!r} has no simulated episodes, so no events are known")
        event_log(episodes).to_csv(path, index=False, lineterminator="\n")


def _written(content: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(content, encoding="utf-8")
    return content


def _title(setting: Setting) -> str:
    name = setting.subject if setting.reference is None else f"{setting.subject} against {setting.reference}"
    return name if setting.scenario is None else f"{setting.scenario.name}: {name}"


def _curves(sources: Mapping[str, Source], names: Sequence[str]) -> dict[str, Any]:
    curves = {}
    for name in names:
        counts = sources[name].counts
        curves[name] = {} if counts is None else wait_curves(counts, MIN_PATIENTS)
    return curves if all(curves.values()) else {}


def _levers(source: Source, setting: Setting, counterfactuals: Mapping[str, Evaluated], rate: str) -> list[Lever]:
    changed = {name: read_one(name, what, setting, rate) for name, what in counterfactuals.items()}
    return pull(source, changed, setting.seed)
