"""From the tables of MIMIC-III to an environment: who is in it, how much was measured, and one patient hour by hour.

    python mimic3_stays.py /path/to/mimic3
    python mimic3_stays.py             # without the data: made-up tables with the same schema

With --output stays.npz what was read is kept: hospital_gym.clinical.stays.files.read_stays reads it in seconds.
"""

import argparse
import sys
import tempfile
from collections import Counter

import gymnasium as gym
import numpy as np

import hospital_gym  # noqa: F401  registers the environments
from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.mimic import read_mimic3
from hospital_gym.clinical.mimic.made_up import write_made_up_tables
from hospital_gym.clinical.stays.files import write_stays


def describe(stays: IcuStays) -> None:
    """Print how many stays there are by group, and what share of the hours has a value, by modality."""
    ids, names = stays.groups("sex", "age_band")
    print(f"{len(stays)} stays, {len(stays.values)} hours, {stays.died.mean():.1%} died in hospital")
    for number, count in sorted(Counter(ids.tolist()).items()):
        print(f"  {names[number]:<20} {count:>6} stays, {stays.died[ids == number].mean():.1%} died")
    for name, columns in stays.modalities.items():
        measured = np.isfinite(stays.values[:, columns]).mean()
        print(f"  {name:<12} {len(columns):>3} channels, {measured:.1%} of their hours measured")
    for note in stays.notes:
        print(f"  {note}")


def watch(stays: IcuStays) -> None:
    """Watch one patient of the training part without ever raising an alarm."""
    env = gym.make("EarlyWarning-ICU-v0", data=stays, groups=("sex", "age_band"))
    observation, _ = env.reset(seed=0)
    gains, ended, hour = 0.0, False, 1
    while not ended:
        counts = {name: int(observation[f"{name}_observed"][-1].sum()) for name in stays.modalities}
        print(f"hour {hour:>2}: {', '.join(f'{name} {count}' for name, count in counts.items() if count) or 'nothing'}")
        observation, reward, terminated, truncated, info = env.step(0)
        gains, ended, hour = gains + float(reward), terminated or truncated, hour + 1
    print(f"waited to the end: the patient {'died' if info['died'] else 'lived'}, which was worth {gains:.2f}")


def main() -> None:
    """Read, describe, watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="?", help="folder of the tables; without it, made-up ones")
    parser.add_argument("--hours", type=int, default=24, help="most hours of a stay (%(default)s)")
    parser.add_argument("--output", help="also write the stays to this .npz")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.tables is None:
            write_made_up_tables(folder, stays=150, events=400_000)
        try:
            stays = read_mimic3(args.tables or folder, hours=args.hours)
        except (MissingDataError, ValueError) as error:
            sys.exit(str(error))
    describe(stays)
    watch(stays)
    if args.output:
        write_stays(stays, args.output)


if __name__ == "__main__":
    main()
