"""What happened to every patient, one event a row, as animation and process-mining tools read it."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.records import BED_TYPES, OUTCOMES
from sb3_grpo.common.evaluation import EpisodeSet

if TYPE_CHECKING:
    import pandas as pd

EVENTS: Final = ("arrival", "admission", "transferred", "left", "died", "discharge")
"""Events in the order in which simultaneous ones of one patient are listed."""

_END: Final = {"left": "left", "died-waiting": "died", "transferred": "transferred"}
_DISCHARGED: Final = ("treated-success", "treated-failure")


def event_log(episodes: EpisodeSet) -> "pd.DataFrame":
    """Events of all patients in order of time within each episode.

    A patient arrives, and then is admitted to a bed and, if the stay ended within the episode, discharged; or leaves, dies
    waiting, or arrives at the hospital of a transfer. Who still waits at the end has nothing but the arrival.

    :param episodes: what happened
    :return: columns ``episode``, ``entity`` (the patient's number within the episode), ``event`` (one of :data:`EVENTS`),
        ``time`` (hours since control began, negative before), ``resource`` (type of bed at admission and discharge, else
        empty), ``group``, ``counted``
    """
    import pandas as pd

    records = episodes.records
    outcome = np.array(OUTCOMES)[records["outcome"]]
    decided = records["arrival"] + records["wait"]
    in_bed = records["bed"] >= 0
    bed = np.where(in_bed, np.array([*BED_TYPES, ""])[records["bed"]], "")
    groups = np.array(episodes.group_names, dtype=object)[records["group"]]

    def rows(event: str, chosen: npt.NDArray[np.bool_], time: npt.NDArray[Any], resource: Any = "") -> "pd.DataFrame":
        return pd.DataFrame(
            {
                "episode": records["episode"][chosen],
                "entity": records["patient_id"][chosen],
                "event": event,
                "time": time[chosen],
                "resource": resource[chosen] if isinstance(resource, np.ndarray) else resource,
                "group": groups[chosen],
                "counted": records["counted"][chosen],
            }
        )

    parts = [
        rows("arrival", np.ones(len(records), dtype=bool), records["arrival"]),
        rows("admission", in_bed, decided, bed),
        rows("discharge", in_bed & np.isin(outcome, _DISCHARGED), decided + records["service_time"], bed),
        *(rows(event, outcome == end, decided) for end, event in _END.items()),
    ]
    log = pd.concat(parts, ignore_index=True)
    place = log["event"].map({event: k for k, event in enumerate(EVENTS)})
    order = np.lexsort((place.to_numpy(), log["entity"].to_numpy(), log["time"].to_numpy(), log["episode"].to_numpy()))
    return log.iloc[order].reset_index(drop=True)
