"""How good the planner's decisions are, for how many simulated steps and how much time.

    taskset -c 0 python -m benchmarks.planning --markdown docs/results/benchmark-planning.md

The problem is :class:`benchmarks.decision_problems.ProtocolEnv`, whose optimum is known: a deceptive protocol of 12 steps and
then decisions under chance. Every method plans anew before each of the 16 decisions, with the same number of simulated steps.
What a decision costs is known exactly: the value of the best action less that of the action taken.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.progress import track

from benchmarks.decision_problems import ProtocolEnv
from benchmarks.tables import Measured, machine, report
from sb3_grpo.common.files import write_json
from sb3_grpo.fairness.inference.means import mean_interval
from sb3_grpo.planning import Planner
from sb3_grpo.planning.plan import latency_of

SHARES: Final = {"tree": 0.0, "genetic": 1.0, "both": 0.75}
"""Share of the budget for the genetic algorithm."""
SETTINGS: Final[dict[str, Any]] = {"population": 60, "futures": 3, "tournament": 3, "patience": 3}
FIRST_SEED: Final = 100
"""The settings were chosen on seeds 0 to 5."""
MOMENTS: Final = (1000, 2000, 4000, 8000)
"""Steps after which the plan for the first decision is looked at."""


class Course(NamedTuple):
    """One episode: what each decision cost, and the seconds it took."""

    costs: np.ndarray
    seconds: np.ndarray


def planner_of(env: ProtocolEnv, method: str, steps: int, seed: int) -> Planner:
    """A planner with nobody's advice that looks to the end."""
    share = SHARES[method]
    return Planner(env, steps=steps, simulations=None, horizon=env.length, genetic_share=share, seed=seed, **SETTINGS)


def course(method: str, steps: int, seed: int) -> Course:
    """Plan every decision of an episode; methods that decide alike meet the same chance."""
    env = ProtocolEnv()
    observation, _ = env.reset(seed=seed)
    planner = planner_of(env, method, steps, seed)
    costs, seconds, done = [], [], False
    while not done:
        values = env.action_values(env.state)
        plan = planner.plan(observation)
        costs.append(max(values) - values[plan.action])
        seconds.append(plan.statistics.seconds)
        observation, _, done, _, _ = env.step(plan.action)
    return Course(np.array(costs), np.array(seconds))


def interval(values: np.ndarray, digits: int = 2) -> str:
    """Mean over seeds with its 95 % interval."""
    found = mean_interval(values, np.random.default_rng(0))
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def quality(budgets: Sequence[int], n_seeds: int, keep: Path | None) -> tuple[Measured, Measured]:
    """Value and latency of each method at each budget, and how much the two parts together are better than either.

    :param budgets: steps for a decision
    :param n_seeds: planner seeds
    :param keep: a file that keeps finished episodes; those in it are not played again
    """
    env = ProtocolEnv()
    env.reset(seed=0)
    best = max(env.action_values(env.state))
    seeds = range(FIRST_SEED, FIRST_SEED + n_seeds)
    jobs = [(steps, method, seed) for seed in seeds for steps in budgets for method in SHARES]
    kept = {} if keep is None or not keep.exists() else json.loads(keep.read_text(encoding="utf-8"))
    courses: dict[tuple[int, str], list[Course]] = {}
    for steps, method, seed in track(jobs, "episodes"):
        key = f"{steps} {method} {seed}"
        if key not in kept:
            kept[key] = [part.tolist() for part in course(method, steps, seed)]
            if keep is not None:
                write_json(keep, kept)
        courses.setdefault((steps, method), []).append(Course(*map(np.array, kept[key])))
    rows: list[tuple[str, ...]] = []
    differences: list[tuple[str, ...]] = []
    bits = env.bits  # episodes do not all end at the same decision
    costs = {
        key: np.array([(one.costs[:bits].sum(), one.costs[bits:].sum()) for one in found]) for key, found in courses.items()
    }
    for (steps, method), found in courses.items():
        of_method = costs[steps, method]
        latency = latency_of(np.concatenate([one.seconds for one in found]))
        rows.append(
            (
                f"{steps:,}",
                method,
                interval(best - of_method.sum(axis=1)),
                *(f"{part:.2f}" for part in of_method.mean(axis=0)),
                f"{1e3 * latency.p50:.0f}",
                f"{1e3 * latency.p95:.0f}",
            )
        )
    for steps in budgets:
        total = {method: costs[steps, method].sum(axis=1) for method in SHARES}
        gains = [interval(total[other] - total["both"]) for other in ("tree", "genetic")]
        differences.append((f"{steps:,}", *gains))
    header = ("steps", "method", f"value (optimum {best:.0f})", "lost in protocol", "lost in response", "p50 ms", "p95 ms")
    return Measured(header, rows), Measured(("steps", "both less tree", "both less genetic"), differences)


def anytime(n_seeds: int) -> Measured:
    """How often the plan for the first decision is right, by how many steps have been simulated."""
    right = {method: np.zeros(len(MOMENTS)) for method in SHARES}
    for method in SHARES:
        for seed in track(range(FIRST_SEED, FIRST_SEED + n_seeds), f"first decision, {method}"):
            env = ProtocolEnv()
            observation, _ = env.reset(seed=seed)
            values = env.action_values(env.state)
            known = np.zeros(len(MOMENTS), dtype=np.bool_)
            for plan in planner_of(env, method, MOMENTS[-1], seed).improve(observation):
                later = plan.statistics.steps <= np.array(MOMENTS)
                known[later] = values[plan.action] == max(values)
            right[method] += known
    rows = [(method, *(f"{100 * share:.0f}" for share in found / n_seeds)) for method, found in right.items()]
    return Measured(("% of first decisions right after", *(f"{steps:,} steps" for steps in MOMENTS)), rows)


def note(n_seeds: int, load: float) -> str:
    """What the tables mean, and the machine."""
    shares = ", ".join(f"{method} {share:g}" for method, share in SHARES.items())
    settings = ", ".join(f"{key} {value}" for key, value in SETTINGS.items())
    return f"""{n_seeds} planner seeds from {FIRST_SEED} on (settings were chosen on seeds 0 to 5); 95 % intervals over them,
of differences of the same seed. Value: expected reward of an episode in which every decision is planned, exact given the
decisions. Steps: of all trajectories for one decision. Genetic share: {shares}; {settings}. Latency: of all decisions of all
seeds, those with little left to plan included. First decisions: without memory of earlier ones, the budget is
{MOMENTS[-1]:,} steps.

{machine(load)}"""


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[4000, 8000], metavar="N", help="budgets (%(default)s)")
    parser.add_argument("--seeds", type=int, default=16, metavar="N", help="planner seeds, at least 2 (%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to this file")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep finished episodes in this file and go on from there")
    options = parser.parse_args()
    if options.seeds < 2 or min(options.steps) < 1:
        parser.error("--seeds must be at least 2 and --steps at least 1")
    load = os.getloadavg()[0]
    tables = [*quality(options.steps, options.seeds, options.keep), anytime(options.seeds)]
    report(tables, note(options.seeds, load), options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
