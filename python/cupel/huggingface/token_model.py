"""Any causal language model of transformers as a token model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

import cupel

from .._modules import evaluating, fingerprint
from .forward import Forward, State

# Tokens of a batch, padding included.
BATCH_TOKENS = 2048
# Rows that wait for those before them, and logits in float32 that are handed on at a time.
WAITING_BYTES, PIECE_BYTES = 2**28, 2**24
# What a pass costs beyond its tokens, in tokens: so much padding is cheaper than another pass.
PASS_TOKENS = 32

_LENGTHS = "max_position_embeddings n_positions n_ctx max_seq_len max_sequence_length".split()


class _Row(NamedTuple):
    index: int
    tokens: list[int]
    wanted: list[int]
    state: State | None
    keep: bool


def _batches(rows: list[_Row], pads: bool) -> Iterator[list[_Row]]:
    """Rows with one state that run together, the longest first.

    Padding is on the right, where causal attention does not see it. A row that keeps its state shares
    a batch with rows of its own length only, so that no state holds padding; so does every row where
    `pads` is false.
    """
    groups: dict[tuple[int, int], list[_Row]] = {}
    for row in rows:
        length = len(row.tokens) if row.keep or not pads else 0
        groups.setdefault((id(row.state), length), []).append(row)
    for group in groups.values():
        batch: list[_Row] = []
        tokens = 0
        for row in sorted(group, key=lambda row: -len(row.tokens)):
            padded = (len(batch) + 1) * len((batch or [row])[0].tokens)
            tokens += len(row.tokens)
            if batch and (padded > BATCH_TOKENS or padded - tokens > PASS_TOKENS + tokens // 4):
                yield batch
                batch, tokens = [], len(row.tokens)
            batch.append(row)
        yield batch


class TokenModel(cupel.TokenModel):
    """A causal language model of transformers as a token model.

    Every function of cupel that takes a token model makes this of a transformers model, so that it
    is seldom written out. The model runs in evaluation mode and without gradients; its own mode
    comes back afterwards. Logits are made of the wanted positions only, where the model allows (see
    `forward.head`). Whether rows can begin from states, so that common beginnings run once, is tried
    out with a few tokens: `info().has_states` says the outcome, `forward.why_no_states` the reason.
    States hold keys and values of all tokens, also where attention has a window.

    Args:
        model: In memory, on any device and of any dtype; one that wraps another (peft) does as well.
        max_length: Most tokens of a sequence; None = what its config says.

    Raises:
        TypeError: Not a model of transformers.
        ValueError: Not a causal language model; its config says no length and none was given; or
            weights that are not in memory.
    """

    def __init__(self, model: PreTrainedModel, max_length: int | None = None):
        super().__init__()
        if not isinstance(model, torch.nn.Module) or not hasattr(model, "get_output_embeddings"):
            raise TypeError(
                "[huggingface.TokenModel] a model of transformers is needed. Got "
                f"{type(model).__name__}."
            )
        self.model = model
        self.max_length = _length(model) if max_length is None else int(max_length)
        self.forward = Forward(model)
        with evaluating(model):
            self.forward.probe()

    def info(self) -> cupel.TokenModelInfo:
        """What the model says of itself, with the fingerprint of its weights as they are now."""
        return cupel.TokenModelInfo(
            vocabulary=self.forward.vocabulary,
            max_length=self.max_length,
            device=str(self.forward.device),
            dtype=str(self.model.dtype).removeprefix("torch."),
            fingerprint=fingerprint(self.model),
            has_states=not self.forward.why_no_states,
            state_bytes=self.forward.state_bytes,
        )

    def run(
        self, rows: list[cupel.TokenModel.Row], sink: Callable[[int, torch.Tensor], None]
    ) -> list[State | None]:
        """Runs rows together; see cupel.TokenModel.

        Raises:
            ValueError: An id outside the vocabulary, or more tokens than the model's length.
        """
        taken = [
            self._checked(_Row(i, row.tokens, row.wanted, row.state, row.keep))
            for i, row in enumerate(rows)
        ]
        states: list[State | None] = [None] * len(taken)
        first = 0
        with evaluating(self.model):
            for part in self._parts(taken):
                done: dict[int, torch.Tensor] = {}
                for batch in _batches(part, self.forward.pads):
                    self._run(batch, done, states)
                waiting = [done[row.index] for row in part if row.wanted]
                if not waiting:
                    continue
                for piece in torch.cat(waiting).split(self._rows_of(PIECE_BYTES)):
                    sink(first, self.forward.logits(piece))
                    first += len(piece)
        return states

    def _run(
        self, batch: list[_Row], done: dict[int, torch.Tensor], states: list[State | None]
    ) -> None:
        longest = len(batch[0].tokens)
        # Padded with a row's own last token: any id does, and this one the model knows.
        padded = [row.tokens + row.tokens[-1:] * (longest - len(row.tokens)) for row in batch]
        device = self.forward.device
        picked, kept = self.forward(
            torch.tensor(padded, device=device),
            torch.tensor([i for i, row in enumerate(batch) for _ in row.wanted], dtype=torch.long),
            torch.tensor([at for row in batch for at in row.wanted], dtype=torch.long),
            batch[0].state,
            batch[0].keep,
        )
        parts = picked.split([len(row.wanted) for row in batch])
        for i, (row, part) in enumerate(zip(batch, parts, strict=True)):
            done[row.index] = part
            if row.keep:
                states[row.index] = kept[i]

    def _checked(self, row: _Row) -> _Row:
        if (row.state is not None or row.keep) and self.forward.why_no_states:
            raise ValueError(
                "[huggingface.TokenModel] this model keeps no states: "
                f"{self.forward.why_no_states}."
            )
        length = len(row.tokens) + (len(row.state) if row.state is not None else 0)
        if length > self.max_length:
            raise ValueError(
                f"[huggingface.TokenModel] a sequence has at most {self.max_length} tokens. Got "
                f"{length}."
            )
        # On a GPU a wrong id would end the process.
        if not 0 <= min(row.tokens) <= max(row.tokens) < self.forward.ids:
            raise ValueError(
                f"[huggingface.TokenModel] ids lie in [0, {self.forward.ids}). Got "
                f"{min(row.tokens)} to {max(row.tokens)}."
            )
        return row

    def _parts(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Neighbours whose wanted rows may wait in memory for each other."""
        limit = self._rows_of(WAITING_BYTES)
        part: list[_Row] = []
        waiting = 0
        for row in rows:
            if part and waiting + len(row.wanted) > limit:
                yield part
                part, waiting = [], 0
            part.append(row)
            waiting += len(row.wanted)
        yield part

    def _rows_of(self, size: int) -> int:
        return max(1, size // (4 * self.forward.vocabulary))


def _length(model: PreTrainedModel) -> int:
    config = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in _LENGTHS:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    raise ValueError(
        "[huggingface.TokenModel] the config must say how many tokens a sequence may have. Got "
        f"none of {', '.join(_LENGTHS)} in {type(config).__name__}; pass "
        "cupel.huggingface.TokenModel(model, max_length=...)."
    )
