"""``sb3-grpo zoo``: RL Baselines3 Zoo with this package's algorithms and hospitals; also ``python -m sb3_grpo.zoo``."""

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand, which reads its own options."""
    parser = subparsers.add_parser(
        "zoo", help="train, search, play, draw and record with RL Baselines3 Zoo", description=__doc__, add_help=False
    )
    parser.add_argument("-h", "--help", action=_Help, nargs=0)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


class _Help(argparse.Action):
    """Says which commands there are."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        parser.exit(run(argparse.Namespace(words=["--help"])))


def run(args: argparse.Namespace) -> int:
    """Hand over.

    :param args: the options
    :return: exit status
    """
    from sb3_grpo.zoo.commands import main

    return main(args.words)
