"""Breast cancer from cell nuclei, 569 cases: a table that comes with scikit-learn, so that an example needs no download."""

from typing import Final

from hospital_gym.clinical.case_table import CaseTable

FEATURE: Final = "mean texture"
"""The feature that the groups are made of."""


def read_breast_cancer(data: str | None = None) -> CaseTable:
    """
    All 569 cases of Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning Repository, doi:10.24432/C5DW2B.

    The table says nothing about people, so there are no demographic groups in it. The two groups here are made of a feature,
    to have something to show: nuclei whose mean texture is below, and not below, the median.

    :param data: not needed, the table comes with scikit-learn
    :return: label: malignant; attribute ``texture`` (the groups); one source
    """
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer(as_frame=True)
    frame = loaded.data.assign(
        malignant=loaded.target.map({0: "yes", 1: "no"}),  # 0 is malignant there
        texture=(loaded.data[FEATURE] >= loaded.data[FEATURE].median()).map({False: "fine", True: "coarse"}),
    )
    return CaseTable.from_frame(
        frame,
        label="malignant",
        groups=["texture"],
        features=[name for name in loaded.data.columns if name != FEATURE] + [FEATURE],
        notes=[f"The groups are made of a feature, {FEATURE!r} below or above its median. They are no groups of people."],
    )
