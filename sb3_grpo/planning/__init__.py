"""Planning at the time of decision: a genetic algorithm and a tree search over an environment that can be put back."""

from sb3_grpo.planning.plan import Latency, Plan, PlanStatistics
from sb3_grpo.planning.planner import Planner, PlanningPolicy
from sb3_grpo.planning.simulation import Restorable, Simulation

__all__ = ["Latency", "Plan", "PlanStatistics", "Planner", "PlanningPolicy", "Restorable", "Simulation"]
