"""Which part of a Dict observation is what: series by modality, their masks, padding, and what does not change with time."""

from dataclasses import dataclass
from typing import Any, Final

from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim

#: Key of the rows that are hours of the stay; those that are not are padding
HOURS_KEY: Final = "hours"
#: What the key of a modality's mask ends with
OBSERVED_SUFFIX: Final = "_observed"


@dataclass(frozen=True)
class TimeSeriesLayout:
    """
    :param window: Rows of each series, T; the last one is now
    :param modalities: Number of channels C of each modality, in the order of the observation's keys
    :param static: Number of entries, after SB3's encoding, of each key that is no series
    :param has_hours: Whether the observation says which rows are padding
    """

    window: int
    modalities: dict[str, int]
    static: dict[str, int]
    has_hours: bool

    @property
    def n_static(self) -> int:
        """Number of entries that are no series."""
        return sum(self.static.values())


def read_layout(space: spaces.Space[Any]) -> TimeSeriesLayout:
    """
    Take a Dict observation apart. A Box of two dimensions (T, C) under a key such as ``vitals`` is a modality, and must have a
    mask of the same shape under ``vitals_observed``: 1 where the value was measured. A Box (T,) under ``hours`` is 1 for rows
    of the stay and 0 for padding; without it no row is padding. All other keys are static.

    :param space: Observation space
    :return: The layout
    :raises ValueError: If the space is no such Dict, naming the key, what was found and what is expected
    """
    if not isinstance(space, spaces.Dict):
        raise ValueError(
            f"observation_space: got {space}, expected a Dict with a Box (window, channels) for each modality, such as "
            f"'vitals', and its mask 'vitals{OBSERVED_SUFFIX}'"
        )
    series = {key: part.shape for key, part in space.spaces.items() if isinstance(part, spaces.Box) and len(part.shape) == 2}
    masks = {key for key in space.spaces if _masked_by(key) in space.spaces}
    modalities = {key: shape for key, shape in series.items() if key not in masks}
    if not modalities:
        raise ValueError(f"observation_space: got the keys {list(space.spaces)}, expected at least one Box (window, channels)")
    windows = {key: shape[0] for key, shape in modalities.items()}
    window = next(iter(windows.values()))
    if len(set(windows.values())) > 1:
        raise ValueError(f"observation_space: got windows {windows}, expected the same number of rows in every modality")
    for key, shape in modalities.items():
        mask = space.spaces.get(key + OBSERVED_SUFFIX)
        if mask is None or mask.shape != shape:
            found = "no such key" if mask is None else f"{mask}"
            raise ValueError(
                f"observation_space: got {found} for {key + OBSERVED_SUFFIX!r}, expected a Box of shape {shape}, 1 where "
                f"{key!r} was measured (all ones, if it always is)"
            )
    hours = space.spaces.get(HOURS_KEY)
    if hours is not None and hours.shape != (window,):
        raise ValueError(
            f"observation_space: got {hours} for {HOURS_KEY!r}, expected a Box of shape {(window,)}, 1 for rows of the stay"
        )
    rest = {key: part for key, part in space.spaces.items() if key not in {*modalities, *masks, HOURS_KEY}}
    for key, part in rest.items():
        if part.shape is None or len(part.shape) > 1:
            raise ValueError(f"observation_space: got {part} for {key!r}, expected a flat space for what does not change")
    return TimeSeriesLayout(
        window=window,
        modalities={key: shape[1] for key, shape in modalities.items()},
        static={key: get_flattened_obs_dim(part) for key, part in rest.items()},
        has_hours=hours is not None,
    )


def _masked_by(key: str) -> str | None:
    """The key of the modality whose mask this may be."""
    return key.removesuffix(OBSERVED_SUFFIX) if key.endswith(OBSERVED_SUFFIX) else None
