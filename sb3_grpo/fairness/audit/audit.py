"""Metrics and intervals of each group from a log of any length, read once in chunks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.fairness.accumulate import STRATA, Counts, accumulate, add_counts
from sb3_grpo.fairness.audit.columns import FIELDS, ColumnMap, Source, closest
from sb3_grpo.fairness.audit.duplicates import Identifiers
from sb3_grpo.fairness.audit.files import CHUNK_ROWS, RecordsError
from sb3_grpo.fairness.audit.intervals import mean_intervals, share_bands, share_intervals
from sb3_grpo.fairness.audit.log import PatientLog
from sb3_grpo.fairness.audit.stays import Sums, add_sums, stay_sums
from sb3_grpo.fairness.audit.units import FOLDED, NONE, PATIENT, PERIODS, Units
from sb3_grpo.fairness.inference.bands import GroupBands
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.metrics import FloatArray, GroupMetrics, group_metrics
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS
from sb3_grpo.fairness.records import MISSING
from sb3_grpo.fairness.report.findings import Findings, find
from sb3_grpo.fairness.report.sources import RATES, read

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE: Final = 0.95
PREFERRED: Final = ("benefit_rate", "in_time", "success", "treated")
"""What groups are compared by unless something else is asked for: the first of these that the columns allow."""

SHORT: Final = {"benefit_rate": "benefit rate", "treated": "share treated", "in_time": "share in time", "success": "success"}
"""What outcomes are called unless the map says otherwise."""

_ADDED_AT_ONCE: Final = 8  # chunks whose counts are added up together: adding costs as much as counting one
_INTERNAL: Final = "episode"  # the column that counts are kept apart by


@dataclass(frozen=True)
class Question:
    """What is asked of a log.

    :param groups: attributes whose combinations are the groups, one entry for each table
    :param outcome: metric that groups are compared by, or a yes/no column in which yes is better; None for the first of
        :data:`PREFERRED` that there is
    :param cluster: what is independent, see :class:`~sb3_grpo.fairness.audit.units.Units`; None for the episode, else the week
    :param strata: attribute by which groups are standardised; None for the severity if there is one
    :param bad_rows: rows that may be left out
    :param seed: seed of the resamples, >= 0
    """

    groups: tuple[tuple[str, ...], ...]
    outcome: str | None = None
    cluster: str | None = None
    strata: str | None = None
    bad_rows: int = 0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class GroupAudit:
    """What was found for one way of forming groups.

    :param by: attributes that form them
    :param counts: what was counted
    :param metrics: every metric
    :param findings: rates of the outcome with intervals, as a report has them
    :param intervals: intervals of the other metrics that are ratios of sums, by metric and group
    :param stays: mean stay by group with intervals; None where stays are not known
    """

    by: tuple[str, ...]
    counts: Counts
    metrics: GroupMetrics
    findings: Findings
    intervals: dict[str, dict[str, Interval]]
    stays: dict[str, Interval] | None

    @property
    def name(self) -> str:
        """What forms the groups, in words."""
        return " x ".join(self.by)

    @property
    def bands(self) -> GroupBands:
        """The outcome's rates, worst, best and gap with intervals."""
        return self.findings.subject.bands


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found in a log.

    :param file: name of the file
    :param n_rows: rows that were used
    :param outcome: metric that groups are compared by
    :param label: what it is called
    :param units: what was taken for independent
    :param period: first and last arrival in hours; None where arrivals are not known
    :param groups: one entry for each way of forming groups
    :param sentences: what was left out, and what to know when reading
    """

    file: str
    n_rows: int
    outcome: str
    label: str
    units: Units
    period: tuple[float, float] | None
    groups: tuple[GroupAudit, ...]
    sentences: tuple[str, ...]


def audit_records(
    path: str | Path,
    question: Question,
    columns: ColumnMap | None = None,
    chunk_rows: int = CHUNK_ROWS,
    progress: Callable[[int], object] | None = None,
) -> Audit:
    """Audit a file of records.

    :param path: a ``.csv``, ``.csv.gz`` or ``.parquet`` file, one row per record
    :param question: what is asked
    :param columns: what the columns are called; default: as in the patient table
    :param chunk_rows: rows that are held in memory at once
    :param progress: called with the number of rows read so far
    :return: what was found
    :raises RecordsError: naming file, line and column of what cannot be used, or the option
    """
    found = read_counts(path, question, columns, chunk_rows, progress)
    audits = tuple(
        _group_audit(by, counts, stays, found.outcome, found.label, question.seed)
        for by, counts, stays in zip(question.groups, found.counts, found.stays, strict=True)
    )
    return Audit(
        file=found.file,
        n_rows=found.n_rows,
        outcome=found.outcome,
        label=found.label,
        units=found.units,
        period=found.period,
        groups=audits,
        sentences=found.sentences,
    )


@dataclass(frozen=True, eq=False)
class Counted:
    """What was counted in a log.

    :param file: name of the file
    :param n_rows: rows that were used
    :param outcome: metric that groups are compared by
    :param label: what it is called
    :param units: what was taken for independent
    :param period: first and last arrival in hours; None where arrivals are not known
    :param counts: one entry for each way of forming groups
    :param stays: likewise; None where stays are not known
    :param sentences: what was left out
    """

    file: str
    n_rows: int
    outcome: str
    label: str
    units: Units
    period: tuple[float, float] | None
    counts: tuple[Counts, ...]
    stays: tuple[Sums | None, ...]
    sentences: tuple[str, ...]


def read_counts(
    path: str | Path,
    question: Question,
    columns: ColumnMap | None = None,
    chunk_rows: int = CHUNK_ROWS,
    progress: Callable[[int], object] | None = None,
) -> Counted:
    """Read a file of records and count.

    :param path: the file
    :param question: what is asked
    :param columns: what the columns are called
    :param chunk_rows: rows that are held in memory at once
    :param progress: called with the number of rows read so far
    :return: the counts, kept apart by unit
    :raises RecordsError: naming file, line and column of what cannot be used, or the option
    """
    if not question.groups:
        raise RecordsError("group: got none, expected at least one attribute to group by")
    columns, own = _with_outcome(columns or ColumnMap(), question, path)
    attributes = dict.fromkeys(name for by in question.groups for name in by)
    if question.strata is not None:
        attributes[question.strata] = None
    if question.cluster not in (None, NONE, PATIENT, *PERIODS):
        attributes[str(question.cluster)] = None
    log = PatientLog(path, columns, attributes, question.bad_rows)
    units = _units(log, question)
    read_so_far = _read(log, question, units, chunk_rows, progress)
    outcome = "success" if own else _outcome(question, read_so_far.counts[0])
    label = own or columns.labels.get(outcome) or SHORT.get(outcome, DEFINITIONS[outcome].label)
    return Counted(
        file=log.file.name,
        n_rows=read_so_far.n_rows,
        outcome=outcome,
        label=label,
        units=units,
        period=read_so_far.period,
        counts=tuple(
            _ordered(counts, by, read_so_far.categories)
            for by, counts in zip(question.groups, read_so_far.counts, strict=True)
        ),
        stays=tuple(read_so_far.stays),
        sentences=tuple(log.problems.sentences()),
    )


# --- what is asked ---


def _with_outcome(columns: ColumnMap, question: Question, path: str | Path) -> tuple[ColumnMap, str]:
    """The map with a yes/no column of the user's as the success, and its name; as it is for one of the known metrics."""
    name = question.outcome
    if name is None or name in RATES:
        return columns, ""
    if name in FIELDS and name not in columns.fields and name != "need":
        raise RecordsError(
            f"outcome: got {name!r}, expected one of {', '.join(RATES)}, or a yes/no column of {Path(path).name}"
        )
    for other in ("outcome", "success"):
        if other in columns.fields:
            raise RecordsError(f"outcome: got {name!r}, but the map has {other!r} already; expected one of {', '.join(RATES)}")
    return columns.with_fields({"success": columns.fields.get(name, Source(column=name))}), columns.labels.get(name, name)


def _units(log: PatientLog, question: Question) -> Units:
    kind = question.cluster
    if kind is None:
        kind = "episode" if "episode" in log else "week" if "arrival" in log else NONE
    if kind in PERIODS and "arrival" not in log:
        raise RecordsError(
            f"cluster: got {kind!r}, which needs the moment of arrival: map the column 'arrival', or give another cluster"
        )
    return Units(kind)


def _outcome(question: Question, counts: Counts) -> str:
    def lacking(metric: str) -> list[str]:
        return [counts.missing[fact] for fact in DEFINITIONS[metric].needs if fact in counts.missing]

    if question.outcome is None:
        for metric in PREFERRED:
            if not lacking(metric):
                return metric
        raise RecordsError(
            "outcome: the columns allow none of "
            + ", ".join(f"{metric} (not available: column {lacking(metric)[0]})" for metric in PREFERRED)
        )
    if lacking(question.outcome):
        raise RecordsError(f"outcome: {question.outcome}: not available: column {lacking(question.outcome)[0]}")
    return question.outcome


# --- reading ---


@dataclass
class _SoFar:
    counts: list[Counts]
    stays: list[Sums | None]
    n_rows: int
    period: tuple[float, float] | None
    categories: dict[str, list[str]]


def _read(
    log: PatientLog, question: Question, units: Units, chunk_rows: int, progress: Callable[[int], object] | None
) -> _SoFar:
    """Count all chunks."""
    identifiers = Identifiers(log) if "record_id" in log else None
    parts: list[list[Counts]] = [[] for _ in question.groups]
    stays: list[Sums | None] = [None for _ in question.groups]
    seen: dict[str, set[str]] = {name: set() for by in question.groups for name in by}
    n_rows, first, last = 0, np.inf, -np.inf
    order: dict[str, list[str]] = {}
    for frame in log.tables(chunk_rows):
        if identifiers is not None:
            identifiers.add(frame)
        frame = frame.assign(**{_INTERNAL: units.number(frame)})
        if "arrival" in frame and len(frame):
            first, last = min(first, frame["arrival"].min()), max(last, frame["arrival"].max())
        for place, by in enumerate(question.groups):
            _check_by(frame, by)
            parts[place].append(accumulate(frame, by, strata=question.strata or STRATA))
            if len(parts[place]) == _ADDED_AT_ONCE:
                parts[place] = [add_counts(parts[place])]
            if "service_time" in frame:
                sums = stay_sums(frame, by, _INTERNAL)
                before = stays[place]
                stays[place] = sums if before is None else add_sums(before, sums)
        for name, known in seen.items():
            known.update(map(str, frame[name].array.categories))
            if frame[name].cat.ordered:
                order[name] = list(map(str, frame[name].array.categories))
        n_rows += len(frame)
        if progress is not None:
            progress(n_rows)
    if identifiers is not None:
        identifiers.check()
    categories = {name: order.get(name, sorted(known)) for name, known in seen.items()}
    period = (float(first), float(last)) if first <= last else None
    return _SoFar([add_counts(part) for part in parts], stays, n_rows, period, categories)


def _check_by(frame: "pd.DataFrame", by: Sequence[str]) -> None:
    import pandas as pd

    for name in by:
        if not isinstance(frame[name].dtype, pd.CategoricalDtype):
            names = [n for n in frame.columns if isinstance(frame[n].dtype, pd.CategoricalDtype)]
            raise RecordsError(f"group: got {name!r}, which holds numbers{closest(name, names)}; expected a category")


# --- what follows ---


def _group_audit(
    by: tuple[str, ...],
    counts: Counts,
    stays: Sums | None,
    outcome: str,
    label: str,
    seed: int,
) -> GroupAudit:
    counts = _folded(counts)
    sources, setting = read({"records": counts}, None, None, None, by, outcome, seed)
    findings = find(sources, replace(setting, rate=label))
    draws_seed = derived_seed(seed, "bootstrap")
    intervals = {}
    for name, definition in DEFINITIONS.items():
        if not definition.bottom or definition.top not in counts.sums or definition.bottom not in counts.sums:
            continue
        tops, bottoms, behind = (_by_unit(counts, fact) for fact in (definition.top, definition.bottom, definition.patients))
        if definition.unit != "share" or name == "benefit_rate":
            intervals[name] = mean_intervals(counts.groups, tops, bottoms, behind.sum(axis=0), draws_seed)
            continue
        intervals[name] = share_intervals(counts.groups, tops, bottoms)
        if name == outcome:
            found = replace(findings.subject, bands=share_bands(counts.groups, tops, bottoms, draws_seed))
            findings = replace(findings, policies={found.name: found})
    intervals.pop(outcome, None)
    mean_stays = None
    if stays is not None:
        total, known = stays.arrays(counts.groups, FOLDED)
        mean_stays = mean_intervals(counts.groups, total, known, known.sum(axis=0), draws_seed)
    return GroupAudit(by, counts, group_metrics(counts), findings, intervals, mean_stays)


def _by_unit(counts: Counts, fact: str) -> FloatArray:
    """(U, G) sums of a fact."""
    table = counts.sums.groupby(level=["episode", "group"])[fact].sum().unstack("group")
    return table.reindex(columns=list(counts.groups)).fillna(0.0).to_numpy(dtype=np.float64)


def _ordered(counts: Counts, by: tuple[str, ...], categories: dict[str, list[str]]) -> Counts:
    """The groups in the order of their attributes, however the file was cut; combinations that do not occur left out."""
    present = set(counts.sums.index.get_level_values("group"))
    names = ["-".join(values) for values in product(*([*categories[name], MISSING] for name in by))]
    keep_all = len(by) == 1
    groups = tuple(name for name in names if name in present or (keep_all and name != MISSING))
    return replace(counts, groups=groups)


def _folded(counts: Counts) -> Counts:
    """Many units as fewer batches of whole units."""
    import pandas as pd

    units = counts.sums.index.get_level_values("episode")
    if units.nunique() <= FOLDED:
        return counts
    levels: Any = counts.sums.index.to_frame(index=False)
    levels["episode"] = pd.factorize(levels["episode"])[0] % FOLDED
    sums = counts.sums.set_axis(pd.MultiIndex.from_frame(levels))
    return replace(counts, sums=sums.groupby(level=list(range(levels.shape[1])), sort=True).sum())
