"""From features with holes to observations, with what the training cases alone say."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]

LIMIT: Final = 10.0
"""Standardised values are cut off here: beyond it lie mistyped units, and an observation space wants limits."""

LEAST_CASES: Final = 5
"""Values of a category that fewer training cases have share one column."""


class Preprocessing:
    """
    Imputes, standardises and encodes: medians, means, deviations and categories come from the cases it was fitted to.

    Numbers: the median where missing, then mean 0 and deviation 1, cut off at +-:data:`LIMIT`. For every feature with holes
    among the fitted cases one more such column says where they are; features that are missing together share it. Categories:
    a column of 0 and 1 for each value, "missing" being one; values that are rare, or not among the fitted cases, share a
    column. Scikit-learn's transformers do the work.

    :param features: the training cases, see :attr:`hospital_gym.clinical.case_table.CaseTable.features`
    """

    def __init__(self, features: "pd.DataFrame") -> None:
        self._transformer = _transformer(features)
        self._transformer.fit(_objects(features))
        self.names: tuple[str, ...] = tuple(map(str, self._transformer.get_feature_names_out()))

    def observations(self, features: "pd.DataFrame") -> Floats:
        """
        :param features: (M, F) with the columns of the training cases
        :return: (M, D) without missing values, in [-LIMIT, LIMIT]
        """
        values = np.asarray(self._transformer.transform(_objects(features)))
        return np.clip(values, -LIMIT, LIMIT).astype(np.float32)


def _categories(features: "pd.DataFrame") -> list[str]:
    import pandas as pd

    return [name for name in features.columns if isinstance(features[name].dtype, pd.CategoricalDtype)]


def _objects(features: "pd.DataFrame") -> "pd.DataFrame":
    """Categories as texts with NaN, as the encoder wants them."""
    names = _categories(features)
    if not names:
        return features
    return features.assign(**{name: features[name].astype(object).where(features[name].notna(), np.nan) for name in names})


def _with_holes(features: "pd.DataFrame", numbers: list[str]) -> list[str]:
    """Features with missing values, of those that are missing together the first."""
    holes = features[numbers].isna()
    patterns = {np.packbits(holes[name].to_numpy()).tobytes(): name for name in reversed(numbers) if holes[name].any()}
    return sorted(patterns.values(), key=numbers.index)


def _transformer(features: "pd.DataFrame") -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    categories = _categories(features)
    numbers = [name for name in features.columns if name not in categories]
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    indicator = MissingIndicator(features="all")
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=min(LEAST_CASES, len(features)), sparse_output=False
    )
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(imputer, StandardScaler()), numbers),
            ("missing", make_pipeline(indicator, StandardScaler()), _with_holes(features, numbers)),
            ("categories", encoder, categories),
        ],
        verbose_feature_names_out=False,
    )
