"""A made-up world, written as the files that the tasks of LLM-KICK read.

python -m cupel.touchstone.world --seed 0 --out world
python -m cupel.touchstone.world --seed 0 --documents 5     # a look at the training texts
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cupel.touchstone.data_sets import write_world_files
from cupel.touchstone.documents import MIX, DocumentStream
from cupel.touchstone.society import World, make_world

__all__ = ["World", "make_world", "write_world"]


def write_world(folder: Path | str, seed: int = 0) -> None:
    """Writes texts, questions, passages, stories and instructions of the world of this seed.

    The same seed gives the same bytes. Raises FileExistsError where `folder` holds anything, so
    that two worlds never mix.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"[write_world] the folder must be empty or new. Got '{folder}'.")
    write_world_files(folder, make_world(seed))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write or show a made-up world.")
    parser.add_argument("--seed", type=int, default=0, help="seed of the world")
    parser.add_argument("--out", type=Path, help="folder to write the tasks' files to")
    parser.add_argument("--documents", type=int, default=0, help="training documents to print")
    arguments = parser.parse_args()
    if arguments.out is None and arguments.documents <= 0:
        parser.error("say --out FOLDER, --documents N, or both.")
    if arguments.out is not None:
        try:
            write_world(arguments.out, arguments.seed)
        except FileExistsError as error:
            sys.exit(f"error: {error}")
    stream = DocumentStream(make_world(arguments.seed), seed=0)
    for _ in range(arguments.documents):
        document = stream.draw(MIX)
        print(f"--- {document.kind}\n{document.text.rstrip()}")


if __name__ == "__main__":
    main()
