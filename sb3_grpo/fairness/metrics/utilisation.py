"""How much of beds, nurses and equipment was used, weighted by time."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.metrics.pooled import ratio
from sb3_grpo.fairness.records import check_frame

if TYPE_CHECKING:
    import pandas as pd


def resource_use(utilisation: Mapping[str, npt.ArrayLike]) -> "pd.DataFrame":
    """Use of every resource, pooled over episodes: hours used / hours available, not a mean of the episodes' shares.

    :param utilisation: per resource the hours used and available, (2,) or (E, 2), as
        :attr:`sb3_grpo.common.evaluation.EpisodeSet.utilisation` holds them
    :return: one row per resource: ``used_hours``, ``available_hours`` and ``utilisation``, NaN where nothing was available;
        nurses' use is need / presence and exceeds 1 where too few came
    """
    import pandas as pd

    hours = {name: np.asarray(pairs, dtype=np.float64).reshape(-1, 2).sum(axis=0) for name, pairs in utilisation.items()}
    table = pd.DataFrame.from_dict(hours, orient="index", columns=["used_hours", "available_hours"])
    table["utilisation"] = ratio(table["used_hours"], table["available_hours"])
    return table


def bed_use(
    frame: "pd.DataFrame",
    beds: Mapping[str, float],
    period: tuple[float, float],
    *,
    by: str = "group",
    windows: Sequence[float] | None = None,
) -> "pd.DataFrame":
    """Use of the beds as the stays in a log tell it, and whose it was.

    A stay begins at ``arrival + wait`` and lasts ``service_time``; without that it lasts to the end of the period. Patients
    who are not counted use beds like the others. Those admitted before the log begins are not in it: let the period begin
    when most of them are gone, or take :func:`resource_use` where a simulator tells.

    :param frame: patient table with ``arrival``, ``wait``, ``bed`` and ``service_time``
    :param beds: number of beds by type
    :param period: begin and end in hours
    :param by: column that defines the groups
    :param windows: ascending edges in hours inside the period; default: the whole period
    :return: one row per window (its begin) and bed type: ``used_hours``, ``available_hours`` (of all episodes together),
        ``utilisation``, and ``share <group>`` of the hours used
    :raises ValueError: naming the column or argument, its value and what is accepted
    """
    import pandas as pd

    edges = np.asarray(period if windows is None else windows, dtype=np.float64)
    if len(edges) < 2 or np.any(np.diff(edges) <= 0) or edges[0] < period[0] or edges[-1] > period[1]:
        raise ValueError(f"period, windows: got {period}, {windows}, expected ascending edges in hours inside the period")
    check_frame(frame, ("arrival", "wait", "bed", "service_time", by))
    kept = frame[frame["bed"].isin(list(beds))]
    begin = (kept["arrival"] + kept["wait"]).to_numpy(dtype=np.float64)
    stay = kept["service_time"].to_numpy(dtype=np.float64)
    end = np.where(np.isnan(stay), np.inf, begin + stay)
    n_episodes = frame["episode"].nunique() if "episode" in frame.columns else 1
    groups = list(dict.fromkeys(kept[by].astype(str)))
    of = [kept["bed"].astype(object).to_numpy(), kept[by].astype(str).to_numpy()]
    cells = pd.MultiIndex.from_product([list(beds), groups], names=["bed", "group"])
    tables = {}
    for since, until in pairwise(edges.tolist()):
        hours = np.clip(np.minimum(end, until) - np.maximum(begin, since), 0.0, None)
        used = pd.Series(hours).groupby(of).sum().reindex(cells, fill_value=0.0).unstack("group").reindex(list(beds))
        table = pd.DataFrame({"used_hours": used.sum(axis=1)})
        table["available_hours"] = [beds[bed] * (until - since) * n_episodes for bed in table.index]
        table["utilisation"] = ratio(table["used_hours"], table["available_hours"])
        for group in groups:
            table[f"share {group}"] = ratio(used[group], table["used_hours"])
        tables[since] = table
    return pd.concat(tables, names=["window", "bed"])
