"""Whether planning makes learned policies for the treatment of sepsis better, and how long a decision takes.

    sb3-grpo study sepsis --only 'sepsis/full/*'
    taskset -c 0 python -m benchmarks.planning_sepsis --results docs/results/planning-sepsis

The planner is run once in each state, with a trained policy as prior and its critic as value of leaves. What it does there is
a policy, and the exact solver says what that one is worth. Nothing of the solver is known to the planner.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch as th
from rich.progress import track

from benchmarks.tables import Measured, machine, report
from hospital_gym.clinical.sepsis.exact import best_policy
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv
from sb3_grpo import GroupRelativePPO
from sb3_grpo.common.files import write_json
from sb3_grpo.fairness.inference.means import mean_interval
from sb3_grpo.planning.plan import latency_of
from sb3_grpo.sepsis.planning import SepsisStateEnv, TableGuide, plan_everywhere
from sb3_grpo.sepsis.policies import value_model
from sb3_grpo.study.tasks.sepsis import trained_policies

SETTINGS: Final[dict[str, Any]] = {"draws": 4096, "exploration": 0.5, "horizon": 6, "caution": 1.0}
TRUST: Final = 0.25
MAIN: Final = "tree"
SHARES: Final = {"tree": 0.0, "both": 0.02}
"""Share of the simulations for the genetic algorithm."""

ALL_SETTINGS: Final = {**SETTINGS, "trust": TRUST, "shares": SHARES}


def measure(folder: Path, row: str, budgets: list[int], n_seeds: int, kept: Path | None) -> list[dict[str, Any]]:
    """One entry for each policy, method, budget and planner seed; those in the file ``kept`` are not measured again."""
    env = SepsisTreatmentEnv(history=1, flat=True)
    fast = SepsisStateEnv(env.mdp)
    most = max(budgets)
    cells = [(MAIN, most, seed) for seed in range(n_seeds)]
    cells += [(MAIN, budget, 0) for budget in budgets if budget != most]
    cells += [(method, most, 0) for method in SHARES if method != MAIN]
    policies = trained_policies(folder, row)
    entries: list[dict[str, Any]] = []
    if kept is not None and kept.exists():
        known = json.loads(kept.read_text(encoding="utf-8"))
        entries = known["entries"] if known["settings"] == ALL_SETTINGS else []
    done = {tuple(entry[key] for key in ("training", "method", "simulations", "seed")) for entry in entries}
    jobs = [(policy, cell) for cell in cells for policy in policies if (policy[0], *cell) not in done]
    for (training, table, path), (method, budget, seed) in track(jobs, "policies"):
        guide = TableGuide.of_model(GroupRelativePPO.load(path, device="cpu"), env, TRUST)
        planned = plan_everywhere(guide, fast, seed, simulations=budget, genetic_share=SHARES[method], **SETTINGS)
        own = {name: value_model(table, env, name == "probable").value for name in ("drawn", "probable")}
        worth, latency = value_model(planned.table, env), latency_of(planned.seconds)
        entries.append(
            {
                "training": training,
                "method": method,
                "simulations": budget,
                "seed": seed,
                **own,
                "planned": worth.value,
                "group_values": worth.group_values.tolist(),
                "p50_ms": 1e3 * latency.p50,
                "p95_ms": 1e3 * latency.p95,
            }
        )
        if kept is not None:
            write_json(kept, {"settings": ALL_SETTINGS, "entries": entries})
    return entries


def interval(values: list[float]) -> str:
    """Mean with its 95 % interval, t."""
    found = mean_interval(values, np.random.default_rng(0), method="t")
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def tables_of(entries: list[dict[str, Any]], optimum: float) -> list[Measured]:
    """What the entries say: by policy over planner seeds, over policies, and by method and budget."""
    most = max(entry["simulations"] for entry in entries)
    main = [entry for entry in entries if entry["method"] == MAIN and entry["simulations"] == most]
    rows: list[tuple[str, ...]] = []
    quality: list[tuple[str, ...]] = []
    gains: dict[str, list[float]] = {"drawn": [], "probable": []}
    for training in sorted({entry["training"] for entry in main}):
        found = [entry for entry in main if entry["training"] == training]
        planned = [entry["planned"] for entry in found]
        for name, of_all in gains.items():
            of_all.append(float(np.mean(planned)) - found[0][name])
        differences = [value - found[0]["probable"] for value in planned]
        rows.append(
            (
                str(training),
                f"{found[0]['drawn']:.4f}",
                f"{found[0]['probable']:.4f}",
                interval(planned),
                interval(differences),
            )
        )
    by_policy = Measured(
        ("training seed", "policy, drawn", "policy, most probable", "planned", "planned less most probable"), rows
    )
    over = Measured(
        ("planned less", "mean over policies"),
        [("policy, drawn", interval(gains["drawn"])), ("policy, most probable", interval(gains["probable"]))],
    )
    cells = sorted({(entry["method"], entry["simulations"]) for entry in entries})
    for method, budget in cells:
        found = [e for e in entries if (e["method"], e["simulations"], e["seed"]) == (method, budget, 0)]
        p50, p95 = (np.median([entry[key] for entry in found]) for key in ("p50_ms", "p95_ms"))
        value = interval([entry["planned"] for entry in found])
        quality.append((method, f"{budget:,}", value, f"{optimum:.4f}", f"{p50:.1f}", f"{p95:.1f}"))
    return [by_policy, over, Measured(("method", "simulations", "value", "optimum", "p50 ms", "p95 ms"), quality)]


def note(entries: list[dict[str, Any]], load: float) -> str:
    """What the tables mean, and the machine."""
    n_policies, n_seeds = (len({entry[key] for entry in entries}) for key in ("training", "seed"))
    settings = ", ".join(f"{key} {value}" for key, value in SETTINGS.items())
    return f"""{n_policies} policies (GroupRelativePPO of the study of sepsis, row "full"), {n_seeds} planner seeds; values are
probabilities of survival, exact for the policy that the planner makes when it is run once in each state. 95 % t intervals: in
the first table over planner seeds, in the others over policies. Settings of the planner: {settings}, trust {TRUST}, genetic
share {SHARES[MAIN]:g} (both: {SHARES["both"]:g}), otherwise the defaults. They were chosen on one policy of the row
"alpha_3 = 0", after a dozen tries; that few draws, and a prior that leaves out actions, make plans worse was first seen on
three of the policies of the table. Simulations:
trajectories for one decision, each draw of an outcome that the critic values being one. Latency: of decisions in states with
a choice, median over policies, planner seed 0; the critic's values were looked up in a table.

{machine(load, f"PyTorch {th.__version__}")}"""


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("runs/study/sepsis"), metavar="FOLDER", help="%(default)s")
    parser.add_argument("--row", default="full", metavar="NAME", help="row of the study (%(default)s)")
    parser.add_argument(
        "--simulations", type=int, nargs="+", default=[65_536, 524_288], metavar="N", help="budgets (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="planner seeds (%(default)s)")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="also write the tables to FILE.md, every value to FILE.json"
    )
    options = parser.parse_args()
    th.set_num_threads(1)
    load = os.getloadavg()[0]
    path = options.results
    kept = None if path is None else path.with_suffix(".json")
    entries = measure(options.study, options.row, options.simulations, options.seeds, kept)
    mdp = SepsisTreatmentEnv(history=1, flat=True).mdp
    tables = tables_of(entries, float(mdp.first @ best_policy(mdp)[1]))
    report(tables, note(entries, load), None if path is None else path.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
