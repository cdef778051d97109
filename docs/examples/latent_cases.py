"""
What clusters of cases are: how well planted groups are found again when nobody labels them.

Cases of two groups are answered 8 or 16 times by a policy that is right with a probability of each group's own. Clusters of
the sorted rewards are compared with the groups by the adjusted Rand index (1: the same, 0: as by chance). "Sex" is a second
attribute of the cases that has nothing to do with how hard they are.

    python latent_cases.py
"""

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import adjusted_rand_score

from sb3_grpo.fair_grpo import LatentCases

#: Probability of a right answer in the common and in the rare group, share of the rare group, answers to each case
SETTINGS = ((0.95, 0.2, 0.1, 8), (0.9, 0.3, 0.15, 16), (0.9, 0.3, 0.15, 8), (0.8, 0.5, 0.15, 16), (0.7, 0.7, 0.15, 16))


def agreement(setting: tuple[float, float, float, int], n: int, seed: int) -> tuple[float, float, float]:
    """Number of clusters, and their agreement with the groups and with sex."""
    common, rare, share, answers = setting
    rng = np.random.default_rng(seed)
    groups, sex = (rng.random(n) < share).astype(np.int64), rng.integers(0, 2, n)
    rewards = (rng.random((n, answers)) < np.where(groups == 1, rare, common)[:, None]).astype(np.float64)
    latent = LatentCases(seed=seed)
    found = latent.label(np.zeros((n, 1)), rewards, groups)
    return latent.log()["group/clusters"], adjusted_rand_score(groups, found), adjusted_rand_score(sex, found)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="cases of each draw (%(default)s)")
    parser.add_argument("--seeds", type=int, default=20, help="draws (%(default)s)")
    args = parser.parse_args(arguments)
    table = Table(title=f"{args.cases} cases, mean (lowest to highest) of {args.seeds} draws")
    for column in ("right: common, rare", "share of rare", "answers", "clusters", "ARI with group", "ARI with sex"):
        table.add_column(column, justify="right")
    for setting in SETTINGS:
        results = np.array([agreement(setting, args.cases, seed) for seed in range(args.seeds)])
        cells = [f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})" for values in results.T]
        table.add_row(f"{setting[0]}, {setting[1]}", str(setting[2]), str(setting[3]), *cells)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
