"""Stays in intensive care whose every number is known."""

import numpy as np

from hospital_gym.clinical.icu_stays import Channel, IcuStays

NAN = np.nan


def hand_made_stays(copies: int = 1) -> IcuStays:
    """
    Three stays of 4, 1 and 3 hours, of which the second dies; two channels of one modality around one of another. With copies,
    every stay occurs so often, as another patient.
    """
    values = np.array(
        [
            [80, NAN, 36],
            [NAN, NAN, 37],
            [90, 7.4, NAN],
            [100, NAN, 38],
            [120, 7.0, NAN],
            [60, NAN, NAN],
            [NAN, 7.2, NAN],
            [70, NAN, 39],
        ],
        dtype=np.float32,
    )
    return IcuStays(
        values=np.tile(values, (copies, 1)),
        offsets=np.concatenate([[0], np.cumsum(np.tile([4, 1, 3], copies))]),
        static=np.tile([[50.0, 0.0], [80.0, 1.0], [NAN, 1.0]], (copies, 1)),
        died=np.tile([0, 1, 0], copies),
        stay_ids=np.arange(3 * copies) + 100,
        channels=(Channel("HR", "vitals", "1/min"), Channel("pH", "blood_gas"), Channel("Temp", "vitals")),
        static_names=("age", "male"),
        attributes={
            "sex": np.tile(["female", "male", "male"], copies),
            "age_band": np.tile(["45-64", "80+", "unknown"], copies),
        },
    )
