"""Training windows: whole documents side by side, with a weight for each token of the loss."""

import random
from collections.abc import Callable, Iterator

import torch
from cupel.touchstone.documents import ANSWER, GIVEN, LINES, TEXT, Document
from vocabulary import BOS, EOS, WordEncoder

Window = tuple[list[int], list[float]]
FILE_TOKENS = 120  # of documents that stand together as the lines of one file


def tokens_of(document: Document, encoder: WordEncoder) -> Window:
    """Ids and weights of one document between <s> and </s>."""
    ids, weights = [BOS], [0.0]
    for place, piece in enumerate(document.pieces):
        text = piece.text if place or piece.text.startswith("\n") else " " + piece.text
        more = encoder.encode(text)
        ids += more
        weights += [piece.weight] * len(more)
    end = GIVEN
    if document.ends:
        end = TEXT if document.kind in LINES else ANSWER
    return [*ids, EOS], [*weights, end]


def with_lines(
    draw: Callable[[], Document], encoder: WordEncoder, rng: random.Random
) -> Iterator[Window]:
    """Documents as windows' parts; half of the profiles and stories as lines of a text file."""
    ids: list[int] = []
    weights: list[float] = []
    for document in iter(draw, None):
        if document.kind not in LINES or rng.random() < 0.5:
            yield tokens_of(document, encoder)
            continue
        more = encoder.encode(" " + document.text)
        if ids and len(ids) + len(more) > FILE_TOKENS:
            yield ids, weights
            ids, weights = [], []
        if ids:  # after a line end there is no space
            more = encoder.encode(document.text)
        else:
            ids, weights = [BOS], [0.0]
        line_end = encoder.encode("\n")
        ids += [*more, *line_end]
        weights += [TEXT] * (len(more) + len(line_end))


class Packer:
    """Batches of whole documents: 32 windows of 128 tokens, or 16 of 256 for longer documents.

    Short windows cost less in attention. A longer one is built when enough documents wait for it;
    what room they leave is filled with short documents. Nothing is cut.
    """

    SHORT, LONG = (32, 128), (16, 256)  # rows and tokens of a batch
    POOL = 256  # short documents to choose from

    def __init__(self, parts: Iterator[Window]) -> None:
        self._parts = parts
        self._short: list[Window] = []
        self._long: list[Window] = []

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and weights, both [rows, length]; what a row lacks is EOS of weight 0."""
        while len(self._short) < self.POOL:
            part = next(self._parts)
            if len(part[0]) > self.LONG[1]:
                raise ValueError(
                    f"[Packer] a document has at most {self.LONG[1]} tokens. Got {len(part[0])}."
                )
            (self._short if len(part[0]) <= self.SHORT[1] else self._long).append(part)
        is_long = len(self._long) >= self.LONG[0]
        rows, length = self.LONG if is_long else self.SHORT
        ids = torch.full((rows, length), EOS)
        weights = torch.zeros(rows, length)
        for row in range(rows):
            its, their = (
                self._fill(*self._long.pop(0), length) if is_long else self._fill([], [], length)
            )
            ids[row, : len(its)] = torch.tensor(its)
            weights[row, : len(their)] = torch.tensor(their)
        return ids, weights

    def _fill(self, ids: list[int], weights: list[float], length: int) -> Window:
        left = []
        for part in self._short:
            if len(ids) + len(part[0]) <= length:
                ids = ids + part[0]
                weights = weights + part[1]
            else:
                left.append(part)
        self._short = left
        return ids, weights
