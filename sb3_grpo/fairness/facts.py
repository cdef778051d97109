"""What is known of every single patient: the numbers that metrics are sums of."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hospital_gym.records import SEVERITIES
from sb3_grpo.fairness.records import TREATED, yes_no

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]


class Fact(NamedTuple):
    """A number known of each patient.

    :param needs: columns it is computed from; of several names in one entry the first that is there
    :param of: the numbers, (N,), of a table that has them
    """

    needs: tuple[tuple[str, ...], ...]
    of: Callable[["pd.DataFrame"], FloatArray]


def treated(frame: "pd.DataFrame") -> FloatArray:
    """1 for those whose treatment began, here or after a transfer, (N,)."""
    if "outcome" in frame.columns:
        return _numbers(frame["outcome"].isin(TREATED))
    return yes_no(frame, "treated")


def in_time(frame: "pd.DataFrame") -> FloatArray:
    """1 for those whose treatment began within the target wait, (N,)."""
    within = _column("wait")(frame) <= _column("target_wait")(frame)
    return treated(frame) * within.astype(np.float64)


def success(frame: "pd.DataFrame") -> FloatArray:
    """1 and 0 for treatments that succeeded and failed, NaN for those whose end is not known and for the untreated, (N,)."""
    if "outcome" in frame.columns:
        outcome = frame["outcome"]
        return np.where(outcome == "treated-success", 1.0, np.where(outcome == "treated-failure", 0.0, np.nan))
    known = yes_no(frame, "success")
    return np.where(treated(frame) == 1.0, known, np.nan) if "treated" in frame.columns else known


def needing(frame: "pd.DataFrame") -> FloatArray:
    """1 for those who must not wait: as the column ``need`` says, or else everybody above the lowest severity, (N,)."""
    if "need" in frame.columns:
        return yes_no(frame, "need")
    return _numbers(frame["severity_arrival"] != SEVERITIES[0])


def _outcome(name: str) -> Callable[["pd.DataFrame"], FloatArray]:
    return lambda frame: _numbers(frame["outcome"] == name)


def _numbers(series: "pd.Series") -> FloatArray:
    return np.asarray(series, dtype=np.float64)


def _column(name: str) -> Callable[["pd.DataFrame"], FloatArray]:
    return lambda frame: _numbers(frame[name])


_TREATED: Final = (("outcome", "treated"),)
_IN_TIME: Final = (*_TREATED, ("wait",), ("target_wait",))
_SUCCESS: Final = (("outcome", "success"),)
_NEED: Final = (("need", "severity_arrival"),)

FACTS: Final[dict[str, Fact]] = {
    "n": Fact((), lambda frame: np.ones(len(frame))),
    "treated": Fact(_TREATED, treated),
    "left": Fact((("outcome",),), _outcome("left")),
    "died": Fact((("outcome",),), _outcome("died-waiting")),
    "transferred": Fact((("outcome",),), _outcome("transferred")),
    "finished": Fact(_SUCCESS, lambda frame: (~np.isnan(success(frame))).astype(np.float64)),
    "success": Fact(_SUCCESS, lambda frame: np.nan_to_num(success(frame))),
    "demand": Fact((("demand",),), _column("demand")),
    "benefit": Fact((("benefit",), ("demand",)), _column("benefit")),
    "cost": Fact((("cost",),), _column("cost")),
    "wait_treated": Fact((*_TREATED, ("wait",)), lambda frame: treated(frame) * _column("wait")(frame)),
    "in_time": Fact(_IN_TIME, in_time),
    "needing": Fact(_NEED, needing),
    "needing_in_time": Fact((*_IN_TIME, *_NEED), lambda frame: in_time(frame) * needing(frame)),
}
"""Every fact by name."""

WAITS: Final = "waits"
"""Name under which waits as a distribution are noted as missing."""


def patient_facts(frame: "pd.DataFrame") -> tuple[dict[str, FloatArray], dict[str, str]]:
    """All facts that the columns of a table allow, and what the others lack.

    :param frame: the patient table, checked
    :return: the facts, (N,) each, and for each missing one the missing columns, as text
    """
    known, missing = {}, {}
    for name, fact in FACTS.items():
        lacking = lacking_columns(frame, fact.needs)
        if lacking:
            missing[name] = lacking
        else:
            known[name] = fact.of(frame)
    lacking = lacking_columns(frame, (*_TREATED, ("wait",)))
    if lacking:
        missing[WAITS] = lacking
    return known, missing


def lacking_columns(frame: "pd.DataFrame", needs: Sequence[tuple[str, ...]]) -> str:
    """The columns that are needed and not there, as text; empty if there are all."""
    return ", ".join(" or ".join(names) for names in needs if not any(_usable(frame, name) for name in names))


def _usable(frame: "pd.DataFrame", name: str) -> bool:
    """Whether a column is there; need can be read from severities only if they are those known here."""
    if name not in frame.columns:
        return False
    return name != "severity_arrival" or bool(frame[name].isin(SEVERITIES).all())
