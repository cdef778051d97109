"""The table of ``diagnose``: a CSV file, or one of the benchmark's, as cases."""

import argparse
import re
from typing import TYPE_CHECKING

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.data_directory import MissingDataError
from sb3_grpo.cli.options import UsageError

if TYPE_CHECKING:
    import pandas as pd


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add what says what the columns of a file are."""
    parser.add_argument("--label", metavar="COLUMN", help="the right answer")
    parser.add_argument("--groups", default="", metavar="COLUMN[,COLUMN]", help="groups: by each, and trained by combinations")
    parser.add_argument("--source", metavar="COLUMN", help="hospital, region or ward that a case comes from")
    parser.add_argument(
        "--patient", metavar="COLUMN", help="patient; never split between training and test (each case its own)"
    )
    parser.add_argument("--case", metavar="COLUMN", help="name of the case (the row)")
    parser.add_argument("--features", metavar="COLUMN[,COLUMN]", help="decide by these only (all others)")
    parser.add_argument("--exclude", default="", metavar="COLUMN[,COLUMN]", help="do not decide by these")
    parser.add_argument(
        "--bands",
        action="append",
        default=[],
        metavar="COLUMN=CUT[,CUT]",
        help="cut numbers into bands where they form groups: age=50,65; repeat for further columns",
    )
    parser.add_argument("--drop-unlabelled", action="store_true", help="leave out cases without label, and say how many")


def read_case_table(args: argparse.Namespace) -> CaseTable:
    """The cases of the file.

    :param args: the options
    :raises UsageError: naming option or column, and what is expected
    """
    if args.label is None:
        raise UsageError("--label: expected the column of the right answer")
    frame = _read_csv(args.table)
    groups, excluded = _names(args.groups), _names(args.exclude)
    ids = {args.label, args.source, args.patient, args.case, *excluded}
    features = _names(args.features) if args.features else [name for name in frame.columns if name not in ids]
    for name in excluded:
        if name not in frame.columns:
            raise UsageError(f"--exclude: column {name!r} is not in {args.table}; it has {', '.join(frame.columns)}")
    try:
        return CaseTable.from_frame(
            frame,
            label=args.label,
            groups=groups,
            source=args.source,
            features=features,
            bands=dict(_band(word) for word in args.bands),
            case=args.case,
            patient=args.patient,
            unlabelled="drop" if args.drop_unlabelled else "error",
        )
    except ValueError as error:
        text = str(error).replace("unlabelled='drop'", "--drop-unlabelled")
        text = re.sub(r"bands=\{'(.*)': \(\.\.\.\)\}", r"--bands \1=CUT,CUT", text)
        raise UsageError(f"{args.table}: {text}") from None


def read_benchmark_table(name: str, data: str | None) -> CaseTable:
    """One of the public tables.

    :param name: its name
    :param data: data directory
    :raises UsageError: if its data are not there
    """
    from hospital_gym.clinical.tables import load_table

    try:
        return load_table(name, data)
    except MissingDataError as error:
        raise UsageError(str(error).replace("pass `data=`", "give --data FOLDER")) from None


def _read_csv(path: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_csv(path)
    except OSError as error:
        raise UsageError(f"TABLE: got {path!r}, expected a CSV file: {error.strerror or error}") from None
    except (ValueError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"TABLE: got {path!r}, expected a CSV file with a header: {reason}") from None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _band(word: str) -> tuple[str, tuple[float, ...]]:
    name, _, cuts = word.partition("=")
    try:
        edges = tuple(float(cut) for cut in cuts.split(","))
    except ValueError:
        raise UsageError(f"--bands: got {word!r}, expected a column and numbers, such as age=50,65") from None
    return name.strip(), edges
