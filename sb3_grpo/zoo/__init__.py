"""RL Baselines3 Zoo with this package's algorithms and hospitals: ``python -m sb3_grpo.zoo``, or ``sb3-grpo zoo``.

============== ====================================================================================
algorithms.py  the table of algorithms; registers them with RL Zoo
commands.py    the commands: what is added to the words of each before RL Zoo reads them
experiment.py  RL Zoo's experiment, with the hospitals' compiled environments and evaluation by group
episode_log.py the monitor file of compiled environments
masks.py       hands masks of valid actions to models that RL Zoo plays without any
search.py      what a search for hyperparameters tries
trials.py      what a trial is judged by
studies.py     where searches are kept, and the best trial as YAML
figures.py     saves figures where there is no display
============== ====================================================================================
"""

from sb3_grpo.zoo.algorithms import register
from sb3_grpo.zoo.commands import main

__all__ = ["main", "register"]
