"""Why a policy recommends what it recommends for one patient: gate, attention, and what each value contributed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_grpo.common.checks import check_whole
from sb3_grpo.group_relative_ppo.group_conditioned_policy import GroupConditionedPolicy
from sb3_grpo.time_series.embedding import check_keys, preprocessed
from sb3_grpo.time_series.fusion import fusion_extractor
from sb3_grpo.time_series.layout import HOURS_KEY, OBSERVED_SUFFIX


@dataclass(frozen=True)
class Explanation:
    """
    Contributions add up: their sum is ``score - reference_score``, up to :attr:`error`.

    :param action: The action that is explained
    :param probability: Its probability, in [0, 1]
    :param score: Its log-odds, log p - log(1 - p)
    :param reference_score: The same for a patient with the same pattern of measurements, all of whose values are 0: averages,
        where values are standardised
    :param hours: Whether each row is an hour of the stay, (T,) bool
    :param values: Values of each modality, NaN where not measured, (T, C)
    :param gate: Mean gate of each part, in (0, 1)
    :param attention: Weight of each row in each modality, the mean over heads, (T,)
    :param contributions: What each value of a modality adds to the score, 0 where not measured, (T, C)
    :param static_contributions: The same for each flat Box that does not change with time, (S,)
    """

    action: int
    probability: float
    score: float
    reference_score: float
    hours: np.ndarray
    values: dict[str, np.ndarray]
    gate: dict[str, float]
    attention: dict[str, np.ndarray]
    contributions: dict[str, np.ndarray]
    static_contributions: dict[str, np.ndarray]

    @property
    def error(self) -> float:
        """By how much the contributions miss the difference of the scores: an error of the numerical integral."""
        parts = [*self.contributions.values(), *self.static_contributions.values()]
        return abs(sum(float(part.sum()) for part in parts) - (self.score - self.reference_score))


def explain(
    model: BaseAlgorithm,
    observation: dict[str, np.ndarray],
    action: int | None = None,
    action_masks: np.ndarray | None = None,
    n_steps: int = 256,
) -> Explanation:
    """
    Explain one recommendation. Contributions are integrated gradients (https://arxiv.org/abs/1703.01365, by Captum) of the
    action's log-odds from a patient of average values to this one. Which values were measured stays as it is, so they
    say what the *values* contribute, not what it means that somebody measured them.

    :param model: Algorithm whose policy has Discrete actions and a :class:`~sb3_grpo.time_series.TimeSeriesFusionExtractor`
    :param observation: One observation, as the policy gets it
    :param action: The action to explain; None: the most likely one
    :param action_masks: Which actions are valid, (A,) bool, for MaskablePPO
    :param n_steps: Points of the numerical integral (Gauss and Legendre); :attr:`Explanation.error` tells whether they suffice
    :return: The explanation
    :raises ValueError: If the policy is none of that kind, or action or observation do not fit it
    :raises ImportError: If Captum is missing
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ImportError("explanations need Captum: pip install 'sb3-grpo[clinical]'") from error
    policy = model.policy
    fusion_extractor(policy)
    check_whole("n_steps", n_steps, 1)
    tensors = _tensors(model, observation)
    odds = _LogOdds(model, action, action_masks, tensors)
    # Its backward pass needs cuDNN's recurrent layers in training mode; without cuDNN any mode will do
    with th.backends.cudnn.flags(enabled=False):
        inputs = tuple(tensors[key] for key in odds.explained)
        found = IntegratedGradients(odds, multiply_by_inputs=True).attribute(
            inputs, tuple(th.zeros_like(part) for part in inputs), n_steps=n_steps, method="gausslegendre"
        )
    contributions = {key: part.detach().cpu().numpy()[0] for key, part in zip(odds.explained, found, strict=True)}
    return odds.explanation(tensors, contributions)


class _LogOdds:
    """Log-odds of one action as a function of what can be interpolated: values of modalities, and flat static Boxes."""

    def __init__(self, model: BaseAlgorithm, action: int | None, action_masks: Any, tensors: dict[str, th.Tensor]):
        self.policy: Any = model.policy
        if isinstance(self.policy, RecurrentActorCriticPolicy):
            raise ValueError("model: got a recurrent policy, expected one that decides by the observation alone")
        self.extractor = fusion_extractor(self.policy)
        if not isinstance(self.policy.action_space, spaces.Discrete):
            raise ValueError(f"model: got actions {self.policy.action_space}, expected Discrete ones, which have log-odds")
        space: Any = self.policy.observation_space
        group_key = self.policy.group_key if isinstance(self.policy, GroupConditionedPolicy) else None
        static = [key for key in self.extractor.layout.static if isinstance(space[key], spaces.Box) and key != group_key]
        self.explained = [*self.extractor.layout.modalities, *static]
        self.fixed = {key: part for key, part in tensors.items() if key not in self.explained}
        n_actions = int(self.policy.action_space.n)
        self.mask = None if action_masks is None else _checked_mask(self.policy, action_masks, n_actions)
        valid = np.arange(n_actions) if self.mask is None else np.flatnonzero(self.mask)
        if len(valid) < 2:
            raise ValueError(f"action_masks: got the valid actions {valid.tolist()}, expected two or more, one to recommend")
        if action is not None and action not in valid:
            raise ValueError(f"action: got {action!r}, expected one of the valid actions {valid.tolist()}")
        with th.no_grad():
            logits = self._logits(tensors)[0]
        self.action = int(logits.argmax() if action is None else action)
        self.probability = float(logits.softmax(0)[self.action])

    def __call__(self, *inputs: th.Tensor) -> th.Tensor:
        n = len(inputs[0])
        fixed = {key: part.expand(n, *part.shape[1:]) for key, part in self.fixed.items()}
        logits = self._logits({**fixed, **dict(zip(self.explained, inputs, strict=True))})
        others = th.arange(logits.shape[1], device=logits.device) != self.action
        return logits[:, self.action] - logits[:, others].logsumexp(dim=1)

    def explanation(self, tensors: dict[str, th.Tensor], contributions: dict[str, np.ndarray]) -> Explanation:
        """What the networks say of the observation, beside the contributions."""
        inputs = [tensors[key] for key in self.explained]
        with th.no_grad():
            score, reference = self(*inputs), self(*map(th.zeros_like, inputs))
            reading = self.extractor.read(preprocessed(self.policy, tensors))
            gate = self.extractor.gate_by_part(reading.gate)[0].cpu().numpy()
        layout = self.extractor.layout
        attention = reading.attention[0].mean(dim=1).cpu().numpy()
        arrays = {key: part[0].cpu().numpy() for key, part in tensors.items()}
        hours = arrays[HOURS_KEY] > 0.5 if layout.has_hours else np.ones(layout.window, dtype=bool)
        measured = {key: (arrays[key + OBSERVED_SUFFIX] > 0.5) & hours[:, None] for key in layout.modalities}
        return Explanation(
            action=self.action,
            probability=self.probability,
            score=float(score),
            reference_score=float(reference),
            hours=hours,
            values={key: np.where(known, arrays[key], np.nan) for key, known in measured.items()},
            gate={part: float(level) for part, level in zip(self.extractor.parts, gate, strict=True)},
            attention=dict(zip(layout.modalities, attention, strict=True)),
            contributions={key: contributions[key] for key in layout.modalities},
            static_contributions={key: contributions[key] for key in self.explained if key not in layout.modalities},
        )

    def _logits(self, tensors: dict[str, th.Tensor]) -> th.Tensor:
        n = len(next(iter(tensors.values())))
        masks = {} if self.mask is None else {"action_masks": np.tile(self.mask, (n, 1))}
        return self.policy.get_distribution(tensors, **masks).distribution.logits


def _checked_mask(policy: Any, action_masks: Any, n_actions: int) -> np.ndarray:
    if not isinstance(policy, MaskableActorCriticPolicy):
        raise ValueError(f"action_masks: got masks for a {type(policy).__name__}, which takes none; leave them out")
    mask = np.asarray(action_masks, dtype=bool)
    if mask.shape != (n_actions,):
        raise ValueError(f"action_masks: got the shape {mask.shape}, expected {(n_actions,)}")
    return mask


def _tensors(model: BaseAlgorithm, observation: dict[str, np.ndarray]) -> dict[str, th.Tensor]:
    """One observation as tensors with a leading axis of one, values that nobody measured set to 0."""
    policy = model.policy
    policy.set_training_mode(False)
    check_keys(policy, observation)
    tensors, vectorised = policy.obs_to_tensor(observation)
    assert isinstance(tensors, dict)
    if vectorised:
        raise ValueError("observation: got several, expected one")
    layout = fusion_extractor(policy).layout
    for key in layout.modalities:
        known = tensors[key + OBSERVED_SUFFIX] > 0.5
        if layout.has_hours:
            known = known & (tensors[HOURS_KEY] > 0.5)[:, :, None]
        tensors[key] = th.where(known, tensors[key].float(), 0.0)
    return tensors
