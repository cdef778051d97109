"""Numbers as people and JSON take them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_grpo.fairness.metrics.definitions import DEFINITIONS

if TYPE_CHECKING:
    import pandas as pd

_DIGITS = {"share": 3, "hours": 1, "price": 3}


def readable(values: "pd.DataFrame", patients: "pd.DataFrame", min_patients: int, horizon: float) -> "pd.DataFrame":
    """A table of metrics as text.

    :param values: metrics, one column each
    :param patients: number of patients behind each value
    :param min_patients: fewer read "insufficient (n=3)"
    :param horizon: what an infinite wait is longer than
    """
    import pandas as pd

    columns = {}
    for name in values.columns:
        digits = _DIGITS[DEFINITIONS[name].unit]
        columns[name] = [
            cell(value, int(n), min_patients, horizon, digits) for value, n in zip(values[name], patients[name], strict=True)
        ]
    return pd.DataFrame(columns, index=values.index, dtype=object)


def cell(value: float, n: int, min_patients: int, horizon: float, digits: int = 3) -> str:
    """One number as text.

    :param value: the number
    :param n: number of patients behind it
    :param min_patients: fewer are insufficient
    :param horizon: what an infinite wait is longer than
    :param digits: digits after the point
    """
    if np.isnan(value):
        return f"insufficient (n={n})" if n < min_patients else f"undefined (n={n})"
    return f"> {horizon:g}" if np.isinf(value) else f"{value:.{digits}f}"


def plain(value: Any) -> Any:
    """Tables as nested dictionaries, rows first; a number that is not finite as None."""
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return {_key(row): plain(value.loc[row]) for row in value.index}
    if isinstance(value, pd.Series):
        return {_key(name): plain(item) for name, item in value.items()}
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def _key(name: Any) -> str:
    return f"{name:g}" if isinstance(name, float) else str(name)
