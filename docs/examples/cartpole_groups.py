"""
CartPole with groups: who starts on the left has a weaker motor.

Episodes belong to one of two groups, by the side on which the cart starts. On the left a push has a fifth of the usual force,
and the policy cannot see which motor it drives. The script trains with lam=0 and with lam=0.5, for the same number of steps,
and prints the mean return of both groups on the same starts.

It shows how to declare groups and where to read how they fare. It is no evidence: it trains one seed, and one policy can serve
both sides, so that with enough training both returns approach 500 whatever lam is.

    python cartpole_groups.py
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.env_util import make_vec_env

from sb3_grpo import GroupAssignment, GroupRobustPPO

GROUPS = ("left", "right")
FORCE = {"left": 2.0, "right": 10.0}  # newtons


def side(observation: np.ndarray, action: Any = None, info: Any = None, episode: int = 0) -> int:
    """The group of an episode that starts with this observation (the first number is the position of the cart)."""
    return int(observation[0] > 0)


class WeakerMotor(gym.Wrapper):
    """The force of a push depends on where the episode starts."""

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self.unwrapped.force_mag = FORCE[GROUPS[side(observation)]]  # type: ignore[attr-defined]
        return observation, info


def make_env() -> gym.Env:
    return GroupAssignment(WeakerMotor(gym.make("CartPole-v1")), side, per="episode", group_names=GROUPS)


def train(lam: float, steps: int, seed: int) -> GroupRobustPPO:
    env = make_vec_env(make_env, n_envs=8, seed=seed)
    model = GroupRobustPPO("MlpPolicy", env, lam=lam, n_steps=128, batch_size=256, n_epochs=10, learning_rate=1e-3, seed=seed)
    return model.learn(steps)


def evaluate(model: GroupRobustPPO, episodes: int) -> dict[str, float]:
    """Mean return of each group. Episode k starts the same for every model."""
    env = make_env()
    returns: dict[str, list[float]] = {name: [] for name in GROUPS}
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode)
        group, total, done = GROUPS[side(observation)], 0.0, False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            done = terminated or truncated
        returns[group].append(total)
    return {name: float(np.mean(values)) for name, values in returns.items() if values}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000, help="steps of training of each model")
    parser.add_argument("--episodes", type=int, default=40, help="episodes of evaluation")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    th.set_num_threads(1)  # the network is small

    table = Table(title=f"CartPole, mean return of each group after {args.steps:,} steps")
    for column in ("", *GROUPS, "worst group", "gap"):
        table.add_column(column, justify="left" if column == "" else "right")
    for name, lam in (("average only (lam=0)", 0.0), ("with the worst group (lam=0.5)", 0.5)):
        returns = evaluate(train(lam, args.steps, args.seed), args.episodes)
        values = list(returns.values())
        table.add_row(name, *(f"{value:.0f}" for value in (*values, min(values), max(values) - min(values))))
    Console().print(table)


if __name__ == "__main__":
    main()
