"""Train the touchstone: a small Llama that knows one made-up world.

    python examples/touchstone/train.py --out run

A stopped run goes on from its own checkpoint with the same command. The number of steps is fixed,
so the same seeds, versions and thread count train the same model however busy the machine is.
"""

import argparse
import json
import math
import pathlib
import random
import signal
import sys
import time
from collections.abc import Iterator

import torch
import torch.distributed as distributed
import transformers

if __name__ == "__main__":  # who imports this has its own cupel
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
import model_folder  # noqa: E402
import quick_check  # noqa: E402
import windows  # noqa: E402
from cupel.touchstone.documents import FIRST_MIX, MIX, DocumentStream  # noqa: E402
from cupel.touchstone.world import make_world  # noqa: E402
from muon import Muon  # noqa: E402
from vocabulary import WordEncoder, make_tokenizer  # noqa: E402

FIRST_STEPS = 600  # are on FIRST_MIX
DECAY_SHARE = 0.35  # of the steps, the last, have a falling learning rate
WARMUP = 100


def parse_arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="folder of the run (made if missing)")
    add("--world-seed", type=int, default=0, help="which made-up world")
    add("--seed", type=int, default=0, help="initial weights and training documents")
    add("--steps", type=int, default=4000, help="optimiser steps, fixed in advance")
    add("--stop-after", type=int, help="end after this many steps of the schedule")
    add("--muon-lr", type=float, default=0.02, help="Muon learning rate of the matrices")
    add("--muon-decay", type=float, default=0.1, help="Muon weight decay; 0 saturates attention")
    add("--adamw-lr", type=float, default=1.5e-3, help="AdamW learning rate of all else")
    add("--embedding-scale", type=float, default=7.0, help="of the usual first deviation, 0.02")
    add("--hidden", type=int, default=192, help="hidden size")
    add("--intermediate", type=int, default=448, help="hidden size of the gated MLP")
    add("--layers", type=int, default=4, help="decoder blocks")
    add("--heads", type=int, default=6, help="attention heads")
    add("--processes", type=int, default=2, help="each runs its rows of a batch on one core")
    add("--log-every", type=int, default=50, help="steps between lines of the log")
    add("--check-every", type=int, default=500, help="steps between quick checks and checkpoints")
    return parser.parse_args(given)


def build_model(arguments: argparse.Namespace, vocabulary: int) -> transformers.LlamaForCausalLM:
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.intermediate,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads,
        num_key_value_heads=arguments.heads,
        max_position_embeddings=512,
        rope_theta=model_folder.ROPE_THETA,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
        attn_implementation="sdpa",
    )
    torch.manual_seed(arguments.seed)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(arguments.embedding_scale)
    return model


def make_optimizers(model, arguments: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    known = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        Muon(matrices, lr=arguments.muon_lr, weight_decay=arguments.muon_decay),
        torch.optim.AdamW(rest, lr=arguments.adamw_lr, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def learning_rate(step: int, steps: int) -> float:
    """Factor of the peak: linear warm-up, flat, linear decay."""
    return min(1.0, (step + 1) / WARMUP, (steps - step) / (steps * DECAY_SHARE))


class Batches:
    """The batch of each step, the same whether or not the run was interrupted."""

    def __init__(self, world, encoder: WordEncoder, arguments: argparse.Namespace) -> None:
        self._documents = DocumentStream(world, arguments.seed + 1)
        self._step = 0
        rng = random.Random(f"lines {arguments.seed}")
        self._packer = windows.Packer(windows.with_lines(self._draw, encoder, rng))

    def _draw(self):
        return self._documents.draw(FIRST_MIX if self._step < FIRST_STEPS else MIX)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield next(self._packer)
            self._step += 1


def weighted_loss(
    model, ids: torch.Tensor, weights: torch.Tensor, whole: torch.Tensor
) -> torch.Tensor:
    """The part of these rows in the loss of a batch whose weights add up to `whole`."""
    logits = model(ids, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    return (losses * weights[:, 1:].flatten()).sum() / whole


def place() -> tuple[int, int]:
    """Which of how many processes this is."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def add_up(model, loss: torch.Tensor) -> float:
    """Adds up the gradients of all processes, and their losses."""
    if place()[1] == 1:
        return loss.item()
    gradients = [parameter.grad for parameter in model.parameters()]
    whole = torch.cat([*(gradient.flatten() for gradient in gradients), loss.detach().view(1)])
    distributed.all_reduce(whole)
    parts = whole[:-1].split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return whole[-1].item()


class Run:
    """The training loop and what a later run needs to go on."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.first = place()[0] == 0  # the process that writes
        self.world = make_world(arguments.world_seed)
        self.tokenizer = make_tokenizer(self.world)
        self.encoder = WordEncoder(self.tokenizer)
        self.model = build_model(arguments, self.encoder.whole.vocab_size())
        self.optimizers = make_optimizers(self.model, arguments)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.log = arguments.out / "log.jsonl"
        self.state = arguments.out / "state.pt"

    def settings(self) -> dict:
        ignored = {"out", "stop_after", "processes", "log_every", "check_every"}
        return {k: v for k, v in vars(self.arguments).items() if k not in ignored}

    def restore(self) -> None:
        if not self.state.exists():
            if self.first:
                self.log.write_text("", encoding="utf-8")
            return
        state = torch.load(self.state, weights_only=True)
        if state["settings"] != self.settings():
            raise SystemExit(
                f"[train] {self.state} is of a run with other settings. Got {state['settings']}."
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        if not self.first:
            return
        # Steps behind the checkpoint come again, and so do their lines.
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        self.log.write_text("".join(kept), encoding="utf-8")

    def save(self) -> None:
        state = {
            "settings": self.settings(),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        torch.save(state, self.state.with_suffix(".new"))
        self.state.with_suffix(".new").replace(self.state)

    def write_log(self, line: dict) -> None:
        if not self.first:
            return
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(" ".join(f"{key} {value}" for key, value in line.items()), flush=True)

    def one_step(self, ids: torch.Tensor, weights: torch.Tensor) -> float:
        """One step of the schedule on a batch; its loss before the step."""
        arguments = self.arguments
        factor = learning_rate(self.step, arguments.steps)
        peaks = (arguments.muon_lr, arguments.adamw_lr)
        for optimizer, peak in zip(self.optimizers, peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
        rank, count = place()
        rows = slice(rank, None, count)
        part = weighted_loss(self.model, ids[rows], weights[rows], weights[:, 1:].sum())
        self.model.zero_grad(set_to_none=True)
        part.backward()
        loss = add_up(self.model, part)
        if not math.isfinite(loss):
            raise SystemExit(f"[train] the loss is finite. Got {loss} in step {self.step}.")
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.tokens += ids.numel()
        return loss

    def train(self) -> None:
        arguments = self.arguments
        batches = iter(Batches(self.world, self.encoder, arguments))
        for _ in range(self.step):  # drawn again, not stored
            next(batches)
        end = min(arguments.steps, arguments.stop_after or arguments.steps)
        recent: list[float] = []
        since = time.monotonic()
        while self.step < end:
            recent.append(self.one_step(*next(batches)))
            if self.step % arguments.log_every == 0 or self.step == end:
                now = time.monotonic()
                self.seconds += now - since
                since = now
                self.write_log(
                    {
                        "step": self.step,
                        "loss": round(sum(recent) / len(recent), 4),
                        "tokens": self.tokens,
                        "seconds": round(self.seconds),
                    }
                )
                recent = []
            if self.step % arguments.check_every == 0 or self.step == end:
                if self.first:
                    scores = quick_check.check(self.model, self.encoder, self.world)
                    self.write_log({"step": self.step, "check": scores})
                    self.save()
                since = time.monotonic()


def work(rank: int, arguments: argparse.Namespace) -> None:
    """One of the processes. They hold the same model and draw the same batches."""
    torch.set_num_threads(1)
    if arguments.processes > 1:
        meeting = f"file://{arguments.out.resolve()}/meeting"
        size = arguments.processes
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    run = Run(arguments)
    run.restore()
    if run.first:
        parameters = sum(p.numel() for p in run.model.parameters())
        print(f"{run.world.fact_count} facts, {parameters} parameters", flush=True)
    run.train()
    if run.first and run.step == arguments.steps:
        model_folder.write(arguments.out / "model", run.model, run.tokenizer)
        print(f"model in {arguments.out / 'model'}", flush=True)
    if arguments.processes > 1:
        distributed.destroy_process_group()


def main(given: list[str] | None = None) -> None:
    arguments = parse_arguments(given)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "meeting").unlink(missing_ok=True)
    if arguments.processes == 1:
        work(0, arguments)
    else:
        # The others end with this one, whoever ends it.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        torch.multiprocessing.spawn(work, (arguments,), nprocs=arguments.processes, daemon=True)


if __name__ == "__main__":
    main()
