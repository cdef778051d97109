"""From uniform numbers to patients, in compiled code; :mod:`hospital_gym.simulator.draws` says what is drawn.

Only logarithms and exponentials are left to NumPy, which takes many at a time: :func:`classify` finds who the patients are and
what has to be raised to the power of e, :func:`complete` does the rest.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit

from hospital_gym.simulator.compiling import announced, source_digest
from hospital_gym.simulator.layout import ABSENT, IN_BED, N_AGES, N_BEDS, N_CLASSES, N_SEVERITIES

LAWS: Final = np.dtype(
    [
        ("age_limits", np.float64, (N_AGES + 1,)),  # limits of the age bands, years
        ("age_mix", np.float64, (N_AGES,)),  # cumulative
        ("severity_mix", np.float64, (N_SEVERITIES,)),  # cumulative
        ("in_beds_mix", np.float64, (N_BEDS, N_CLASSES)),  # cumulative, of the classes in each type of bed at the start
        ("male_share", np.float64),
        ("need_weight", np.float64, (N_SEVERITIES,)),
        ("exponential", np.int64),  # 1: stays are exponential, else log-normal
        ("mean_stay", np.float64, (N_AGES, N_SEVERITIES)),  # hours
        ("sigma", np.float64, (N_AGES, N_SEVERITIES)),  # of a log-normal stay
        ("half_variance", np.float64, (N_AGES, N_SEVERITIES)),
        ("met_factor", np.float64, (N_AGES, N_SEVERITIES)),  # by how much stays met at a random moment are longer
        ("stage_hours", np.float64, (N_SEVERITIES,)),
        ("slower", np.float64, (N_AGES,)),  # factor on them
        ("patience_hours", np.float64, (N_SEVERITIES,)),
        ("start", np.float64),  # hour at which the simulation starts
    ]
)
"""What the patients of a scenario are drawn from."""


@njit
def _choose(limits: Any, uniform: float) -> int:
    """Index with these cumulative probabilities, by inversion."""
    chosen = 0
    while chosen < limits.shape[0] - 1 and limits[chosen] <= uniform:
        chosen += 1
    return chosen


@njit
def _power(laws: Any, age_band: int, severity: int, drawn: float) -> float:
    """Logarithm of stay / mean stay if the law is log-normal, else this ratio itself."""
    if laws.exponential == 1:
        return drawn
    return float(laws.sigma[age_band, severity] * drawn - laws.half_variance[age_band, severity])


@njit
def _age_band(laws: Any, age: float) -> int:
    age_band = 0
    while age_band < N_AGES - 1 and laws.age_limits[age_band + 1] <= age:
        age_band += 1
    return age_band


@njit
def _clear(patient: Any) -> None:
    """What an episode writes."""
    patient.stage_begin = patient.decay = patient.exposure = 0.0
    patient.benefit = patient.success_chance = 0.0
    patient.next_waiting = patient.previous_waiting = patient.deadline = -1
    patient.decided = np.nan
    patient.unused[:] = 0


def _compile_entry_points(digest: int) -> tuple[Callable[..., Any], ...]:
    @njit(cache=True)
    def classify(
        all_laws: Any,
        uniform: Any,
        in_beds: Any,
        beds: Any,
        ages: Any,
        sexes: Any,
        severities: Any,
        drawn: Any,
        patients: Any,
        powers: Any,
    ) -> int:
        """Write age band, age, sex, quintile and severity, and the powers of e that :func:`complete` needs.

        :param all_laws: the :data:`LAWS`, (1,)
        :param uniform: the rows of all patients, (n, 13), those in beds at the start first
        :param in_beds: further uniform numbers of those, (m, 3): class, share of the stay left, stay
        :param beds: their beds, (m,)
        :param ages: recorded ages of the others, NaN where none is, (n - m,), or nobody's, (0,)
        :param sexes: their recorded sexes, -1 where none is, (n - m,)
        :param severities: their recorded severities at arrival, -1 where none is, (n - m,)
        :param drawn: what their stays are made of, first of those in beds: (m + n,)
        :param patients: to be written, (n,)
        :param powers: to be written, (m + 3 n,)
        :return: digest of the sources
        """
        laws, m = all_laws[0], beds.shape[0]
        for i in range(patients.shape[0]):
            patient, row = patients[i], uniform[i]
            if i < m:
                age_band, severity = divmod(_choose(laws.in_beds_mix[beds[i]], in_beds[i, 0]), N_SEVERITIES)
                powers[i] = _power(laws, age_band, severity, drawn[i])
            else:
                age_band, severity = _choose(laws.age_mix, row[0]), _choose(laws.severity_mix, row[4])
            low, high = laws.age_limits[age_band], laws.age_limits[age_band + 1]
            age = low + (high - low) * row[1]
            sex = 1 if row[2] < laws.male_share else 0
            if i >= m and ages.shape[0] > 0:
                if ages[i - m] >= 0:
                    age = ages[i - m]
                if sexes[i - m] >= 0:
                    sex = int(sexes[i - m])
                if severities[i - m] >= 0:
                    severity = int(severities[i - m])
                age_band = _age_band(laws, age)
            patient.age_band, patient.age, patient.sex = age_band, age, sex
            patient.quintile = 1 + min(int(5 * row[3]), 4)
            patient.severity_arrival = patient.severity = severity
            for k in range(N_SEVERITIES):
                powers[m + N_SEVERITIES * i + k] = _power(laws, age_band, k, drawn[m + i])
        return digest

    @njit(cache=True)
    def complete(
        all_laws: Any,
        uniform: Any,
        in_beds: Any,
        beds: Any,
        times: Any,
        recorded_hours: Any,
        group_of: Any,
        logarithms: Any,
        factors: Any,
        patients: Any,
    ) -> int:
        """Write all else that is known of patients before the episode begins; for those in beds also the stay.

        :param all_laws: the :data:`LAWS`, (1,)
        :param uniform: see :func:`classify`, as for the next two
        :param in_beds: the same
        :param beds: the same
        :param times: when the others arrive, (n - m,)
        :param recorded_hours: their recorded stays in the matched bed, NaN where none is, (n - m,) or (0,)
        :param group_of: group by age band, sex, quintile - 1 and severity at arrival
        :param logarithms: log(1 - uniform number) of the three stages and three patiences, (n, 6)
        :param factors: stay / mean stay, one after the other as ``powers`` of :func:`classify`
        :param patients: to be written, (n,)
        :return: digest of the sources
        """
        laws, m = all_laws[0], beds.shape[0]
        for i in range(patients.shape[0]):
            patient = patients[i]
            age_band, severity = patient.age_band, patient.severity_arrival
            patient.group = group_of[age_band, patient.sex, patient.quintile - 1, severity]
            patient.demand = laws.need_weight[severity]
            for k in range(N_SEVERITIES):
                patient.service_hours[k] = laws.mean_stay[age_band, k] * factors[m + N_SEVERITIES * i + k]
                patient.stage_hours[k] = -logarithms[i, k] * laws.stage_hours[k] * laws.slower[age_band]
                patience = laws.patience_hours[k]
                patient.patience_hours[k] = -logarithms[i, N_SEVERITIES + k] * patience if patience < np.inf else np.inf
            patient.success_draw = uniform[i, 12]
            if i < m:
                patient.status, patient.bed, patient.arrival = IN_BED, beds[i], laws.start
                patient.stay = laws.mean_stay[age_band, severity] * factors[i]
                if laws.exponential == 0:  # an exponential stay is without memory: what is left is exponential again
                    patient.stay = in_beds[i, 1] * (patient.stay * laws.met_factor[age_band, severity])
            else:
                patient.status, patient.bed, patient.arrival, patient.stay = ABSENT, -1, times[i - m], 0.0
                if recorded_hours.shape[0] > 0 and not np.isnan(recorded_hours[i - m]):
                    patient.service_hours[:] = recorded_hours[i - m]
            _clear(patient)
        return digest

    return classify, complete


classify, complete = announced(*_compile_entry_points(source_digest()))
