"""The rows of series, ready for causal encoders: nothing that must not be read, and the stay before its padding."""

from typing import Final, NamedTuple

import torch as th

from sb3_grpo.time_series.layout import HOURS_KEY, OBSERVED_SUFFIX, TimeSeriesLayout

#: Unit of the clock that encoders see
ROWS_OF_A_DAY: Final = 24


class Rows(NamedTuple):
    """
    T rows of n observations, those of the stay in front, then padding: a causal encoder meets padding only after everything
    that counts.

    :param values: Values of all modalities side by side, 0 where unknown, (T, n, C)
    :param measured: Whether they were measured, (T, n, C) bool
    :param clock: How much of the stay has been seen in each row, in days if a row is an hour, (T, n, 1)
    :param now: Place of the newest row of the stay, (n,); 0 if all is padding
    :param order: Where each row stands in the observation, (n, T)
    """

    values: th.Tensor
    measured: th.Tensor
    clock: th.Tensor
    now: th.Tensor
    order: th.Tensor

    def in_time(self, weights: th.Tensor) -> th.Tensor:
        """
        :param weights: Something of each row, (n, ..., T)
        :return: The same in the order of the observation
        """
        back = self.order.argsort(dim=1)
        return weights.gather(-1, back.view(len(back), *[1] * (weights.ndim - 2), -1).expand_as(weights))


def read_rows(observations: dict[str, th.Tensor], layout: TimeSeriesLayout, dtype: th.dtype) -> Rows:
    """
    :param observations: n observations
    :param layout: What is what in them
    :param dtype: Type of the values
    :return: Their rows
    :raises ValueError: If an entry of a mask is neither 0 nor 1
    """
    values = th.cat([observations[key] for key in layout.modalities], dim=2).to(dtype)
    masks = th.cat([observations[key + OBSERVED_SUFFIX] for key in layout.modalities], dim=2)
    measured = _checked(masks, f"'*{OBSERVED_SUFFIX}'")
    if layout.has_hours:
        hours = _checked(observations[HOURS_KEY], repr(HOURS_KEY))
    else:
        hours = th.ones_like(measured[:, :, 0])
    measured = measured & hours[:, :, None]
    values = th.where(measured, values, 0.0)
    order = th.argsort((~hours).byte(), dim=1, stable=True)
    front = order.t()[:, :, None].expand(-1, -1, values.shape[2])
    clock = th.arange(len(front), device=values.device).to(dtype) / ROWS_OF_A_DAY
    return Rows(
        values=values.transpose(0, 1).gather(0, front),
        measured=measured.transpose(0, 1).gather(0, front),
        clock=clock[:, None, None].expand(-1, len(values), 1),
        now=(hours.sum(dim=1) - 1).clamp(min=0),
        order=order,
    )


def carried_forward(values: th.Tensor, measured: th.Tensor) -> th.Tensor:
    """
    :param values: Values, the oldest first, 0 where not measured, (T, ...)
    :param measured: Whether they were measured, same shape, bool
    :return: The newest value measured so far, 0 before the first, same shape
    """
    place = th.arange(len(values), device=values.device).view(-1, *[1] * (values.ndim - 1))
    newest = th.where(measured, place, 0).cummax(dim=0).values  # place 0 holds 0 if nothing was measured there
    return values.gather(0, newest)


def _checked(mask: th.Tensor, key: str) -> th.Tensor:
    """
    :return: The mask as bool
    :raises ValueError: If an entry is neither 0 nor 1
    """
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(
            f"observation: got a mask {key} with entries that are neither 0 nor 1, as VecNormalize(norm_obs=True) makes them; "
            "expected masks as they are: norm_obs=False, or norm_obs_keys without them"
        )
    return mask > 0.5
