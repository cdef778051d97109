"""Escalation thresholds at which c-mu is most efficient, by hospital, on 32 validation episodes of seed 0.

Found with ``sb3-grpo tune --scenario NAME``; reports use other episodes. Efficiency there of c-mu with these thresholds:
Urban 0.876, Rural 0.796, Pediatric 0.868, Surge 0.860 (the best of about 700 candidates, so on the high side).
"""

from typing import Any, Final

TUNED_THRESHOLDS: Final[dict[str, dict[str, Any]]] = {
    "Urban": {
        "overtime": 15.0,
        "block": (7.0, 5.0, 5.0),
        "transfer": 1.0,
        "reserve": 9.0,
        "adult_after": 3.0,
        "child_after": 6.0,
        "critical_after": 2.0,
    },
    "Rural": {
        "overtime": 8.0,
        "block": (2.0, 1.0, 9.0),
        "transfer": 2.0,
        "reserve": 10.0,
        "adult_after": 8.0,
        "child_after": 9.0,
        "critical_after": 1.0,
    },
    "Pediatric": {
        "overtime": 16.0,
        "block": (3.0, 7.0, 5.0),
        "transfer": 2.0,
        "reserve": 6.0,
        "adult_after": 4.0,
        "child_after": 9.0,
        "critical_after": 1.0,
    },
    "Surge": {
        "overtime": 16.0,
        "block": (4.0, 2.0, 10.0),
        "transfer": 4.0,
        "reserve": 4.0,
        "adult_after": 8.0,
        "child_after": 10.0,
        "critical_after": 0.0,
    },
}
"""Arguments of :class:`hospital_gym.heuristics.Escalation` by hospital."""
