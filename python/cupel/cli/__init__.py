"""The `cupel` command. Each sub-command is a file here; none imports torch before it must."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import compress, demo, evaluate, judge, kick, report
from .errors import UsageError, guarded

COMMANDS = (compress, evaluate, judge, kick, report, demo)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all of the command's are."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.rstrip('.')} (see {self.prog} --help).\n")


class Version(argparse.Action):
    """Prints the version, looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from .._load import build

        print(f"cupel {build().VERSION}, for torch {build().TORCH_MINOR}")
        parser.exit()


class CMakeDir(argparse.Action):
    """Prints the folder for CMAKE_PREFIX_PATH or cupel_DIR."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        folder = Path(__file__).resolve().parents[1] / "lib" / "cmake" / "cupel"
        if not folder.is_dir():
            raise UsageError(f"the CMake package is not installed beside this module, in {folder}.")
        print(folder)
        parser.exit()


def make_parser() -> Parser:
    """The parser of the whole command."""
    parser = Parser(
        prog="cupel", description="Compress language models, and assay what the compression cost."
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    parser.add_argument(
        "--cmake-dir",
        action=CMakeDir,
        nargs=0,
        help="print the folder of the C++ library's CMake package and exit",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""

    def run() -> int:
        parser = make_parser()
        chosen = parser.parse_args(arguments)
        if not hasattr(chosen, "run"):
            parser.print_help()
            return 0
        return chosen.run(chosen)

    # OpenMP threads that wait would spin, and starve each other on a shared machine. It is read when
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode gets ? and no traceback
    return guarded(run)
