"""
The weights of FairGRPO in a trainer of one's own: several completions of each prompt, some prompts rare and hard.

The "language model" is a table of logits that writes three tokens for each of 60 prompts; a completion is right if all three
are. Prompts of the domain "letters" come ten times as often as those of "numbers", whose vocabulary is larger and whose
right completions are therefore found less often. The trainer calls three functions, on the tensor of rewards of a batch,
(prompts, completions): `update_history`, `group_relative_advantages` and `corrected_weights`. The rest is any trainer.

It shows where the calls belong. It is no evidence: it trains one seed.

    python fair_weights.py
"""

import argparse

import torch as th
from rich.console import Console
from rich.table import Table

from sb3_grpo.fair_grpo import corrected_weights, group_relative_advantages, initial_history, update_history

DOMAINS = ("letters", "numbers")
VOCABULARY = {"letters": 3, "numbers": 4}
N_PROMPTS, LENGTH, COMPLETIONS, BATCH = 60, 3, 8, 42


def train(weighted: bool, batches: int, seed: int) -> dict[str, float]:
    """
    :param weighted: Whether rare and hard domains count more
    :param batches: Number of batches
    :param seed: Seed
    :return: Probability of a right completion at the end, mean over the prompts of each domain
    """
    generator = th.Generator().manual_seed(seed)
    domain = th.arange(N_PROMPTS) % 2
    size = th.tensor([VOCABULARY[DOMAINS[d]] for d in domain.tolist()])
    right = (th.rand(N_PROMPTS, LENGTH, generator=generator) * size[:, None]).long()
    forbidden = th.arange(max(VOCABULARY.values())) >= size[:, None, None]
    logits = th.zeros(N_PROMPTS, LENGTH, max(VOCABULARY.values()), requires_grad=True)
    optimizer = th.optim.SGD([logits], lr=10.0)  # Adam would undo any weight, for no two prompts share a parameter
    how_often = th.where(domain == 0, 10.0, 1.0)

    history = initial_history(n_sources=len(DOMAINS))
    for _ in range(batches):
        prompts = th.multinomial(how_often, BATCH, replacement=True, generator=generator)
        log_p = logits.masked_fill(forbidden, -1e9).log_softmax(-1)[prompts]
        flat = log_p.detach().exp().reshape(BATCH * LENGTH, -1)
        tokens = th.multinomial(flat, COMPLETIONS, replacement=True, generator=generator)
        completions = tokens.reshape(BATCH, LENGTH, COMPLETIONS).transpose(1, 2)
        rewards = (completions == right[prompts][:, None]).all(-1).float()  # (prompts, completions)

        history = update_history(history, rewards, sources=domain[prompts])
        advantages = group_relative_advantages(rewards)
        if weighted:
            advantages = advantages * th.as_tensor(corrected_weights(history, sources=domain[prompts]))[:, None]

        of_tokens = log_p[:, None].expand(-1, COMPLETIONS, -1, -1).gather(-1, completions[..., None])
        log_probs = of_tokens.squeeze(-1).sum(-1)  # of whole completions, (prompts, completions)
        loss = -(advantages * log_probs).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    p_right = logits.detach().masked_fill(forbidden, -1e9).softmax(-1).gather(-1, right[..., None]).squeeze(-1).prod(-1)
    return {name: float(p_right[domain == number].mean()) for number, name in enumerate(DOMAINS)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=400, help="batches of prompts (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    table = Table("", *DOMAINS, "mean", title=f"Probability of a right completion after {args.batches} batches")
    for name, weighted in (("all prompts alike", False), ("rare and hard domains count more", True)):
        values = list(train(weighted, args.batches, args.seed).values())
        table.add_row(name, *(f"{value:.3f}" for value in (*values, sum(values) / len(values))))
    Console().print(table)


if __name__ == "__main__":
    main()
