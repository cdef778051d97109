"""A hospital fitted to a log of stays: how many come and when, who they are, how long they stay.

============= ==========================================================================
data.py       the log, as arrays
arrivals.py   arrivals: rate, weekly profile, day effect
mix.py        shares of ages, severities and sexes
stays.py      log-normal lengths of stay, with stays that have not ended
fit.py        all of these, checked on held-out time, as a scenario
show.py       in a terminal, as JSON, as a picture
============= ==========================================================================
"""

from sb3_grpo.calibration.data import Stays, read_stays
from sb3_grpo.calibration.fit import PARTS, Calibration, calibrate, scenario_name, scenario_yaml

__all__ = ["PARTS", "Calibration", "Stays", "calibrate", "read_stays", "scenario_name", "scenario_yaml"]
