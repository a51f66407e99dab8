"""`cupel report`: a page about a grid or an evaluation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  cupel report GRID                  # DIR of cupel kick, finished or not
  cupel report scores/50             # --out of cupel evaluate
  cupel report GRID --out public"""


def add_parser(subparsers: Any) -> None:
    """Declares the sub-command."""
    parser = subparsers.add_parser(
        "report",
        help="write a page about a grid of compressed models, or about one evaluation",
        description="Writes DIR/report: index.html (one file, no network needed), report.md, report.tex,\n"
        "cells.csv and verdicts.csv. It says which tasks break at which level of compression, whether\n"
        "perplexity shows it, and how certain that is.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "folder", metavar="DIR", type=Path, help="of cupel kick, or --out of cupel evaluate"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write (default: DIR/report)"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command."""
    from ..html_report import write_html_report

    shown = sys.stderr.isatty()

    def progress(label: str) -> None:
        if shown:
            print(end=f"\r\x1b[K{label}", file=sys.stderr, flush=True)

    try:
        written = write_html_report(args.folder, args.out, progress)
    finally:
        if shown:
            print(end="\r\x1b[K", file=sys.stderr, flush=True)
    print(f"Written to {written['index.html'].parent}: {', '.join(written)}.")
    return 0
