"""Train the touchstone: a Llama of under a million parameters that knows one made-up world.

    python examples/touchstone/train.py --out python/cupel/touchstone/files

Needs torch, transformers, safetensors and sentencepiece. The number of steps is fixed, so that
the same seeds, versions and thread count train the same model however busy the machine is.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import platform
import random
import shlex
import sys
import time
from collections.abc import Iterator

import safetensors.torch
import sentencepiece
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
from cupel.touchstone import CALIBRATION, HELDOUT, PROVENANCE, texts, world  # noqa: E402
from measure import measure  # noqa: E402

WINDOW = 256
ROPE_THETA = 10000.0
POOL = 48  # documents to choose from when a window has room left


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="folder to write (made if missing)")
    add("--world-seed", type=int, default=0, help="which made-up world")
    add("--seed", type=int, default=0, help="initial weights and training documents")
    add("--steps", type=int, default=6400, help="optimiser steps, fixed in advance")
    add("--batch", type=int, default=4, help=f"windows of {WINDOW} tokens in one step")
    add("--lr", type=float, default=3e-3, help="AdamW learning rate on the flat part")
    add("--warmup", type=int, default=100, help="steps of linear warm-up")
    add("--vocabulary", type=int, default=768, help="pieces of the tokenizer, 259 of them fixed")
    add("--hidden", type=int, default=128, help="hidden size")
    add("--intermediate", type=int, default=384, help="hidden size of the gated MLP")
    add("--layers", type=int, default=4, help="decoder blocks")
    add("--calibration-bytes", type=int, default=350_000, help=f"size of {CALIBRATION}")
    add("--heldout-bytes", type=int, default=125_000, help=f"size of {HELDOUT}")
    add("--threads", type=int, default=2, help="torch threads; on busy cores 1 may be faster")
    add("--log-every", type=int, default=200, help="steps between lines of progress")
    return parser.parse_args()


def draw_documents(made_up: world.World, seed: int, size: int, exclude: set[str]) -> list[str]:
    """Different documents, none of them in `exclude`, of about `size` bytes together."""
    chosen: dict[str, None] = {}
    total = 0
    for document in texts.documents(made_up, seed):
        if document in exclude or document in chosen:
            continue
        chosen[document] = None
        total += len(document.encode()) + 1
        if total >= size:
            return list(chosen)
    raise AssertionError("documents() never ends")


def train_tokenizer(documents: list[str], vocabulary: int) -> bytes:
    """A Llama-style SentencePiece model: BPE, one piece per digit, bytes for the rest."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(documents),
        model_writer=model,
        vocab_size=vocabulary,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=1,
    )
    return model.getvalue()


def pack_windows(documents: Iterator[str], tokenizer, rng: random.Random) -> Iterator[list[int]]:
    """Windows of at most WINDOW tokens that hold whole documents only.

    Half of them are separate documents (<s> document </s> <s> ...), half read like the lines of
    a text file (<s> document newline document newline ...), as a file is tokenised for a test.
    """
    newline = tokenizer.encode("\n")[1:]
    pool: list[str] = []
    while True:
        as_file = rng.random() < 0.5
        window: list[int] = []
        pool.extend(next(documents) for _ in range(POOL - len(pool)))
        left = []
        for document in pool:
            if as_file and window:  # after a newline there is no dummy space
                piece = tokenizer.encode("\n" + document)[1 + len(newline) :] + newline
            else:
                end = newline if as_file else [tokenizer.eos_id()]
                piece = [tokenizer.bos_id(), *tokenizer.encode(document), *end]
            if len(window) + len(piece) <= WINDOW:
                window += piece
            elif len(piece) <= WINDOW:
                left.append(document)
        pool = left
        yield window


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Factor of the peak: linear warm-up, flat, linear decay over the last third."""
    return min(1.0, (step + 1) / warmup, (steps - step) / (steps / 3))


def build_model(arguments: argparse.Namespace) -> transformers.LlamaForCausalLM:
    config = transformers.LlamaConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.intermediate,
        num_hidden_layers=arguments.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_theta=ROPE_THETA,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
    )
    torch.manual_seed(arguments.seed)
    return transformers.LlamaForCausalLM(config)


def train(model, windows: Iterator[list[int]], arguments: argparse.Namespace) -> dict:
    """The training loop; returns what provenance.json says about it."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=arguments.lr, betas=(0.9, 0.99), weight_decay=0.01
    )
    model.train()
    started, tokens, recent, losses = time.time(), 0, [], {}
    for step in range(arguments.steps):
        factor = learning_rate(step, arguments.steps, arguments.warmup)
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * factor
        rows = [torch.tensor(next(windows)) for _ in range(arguments.batch)]
        batch = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        logits = model(batch.clamp(min=0)[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=-100
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += sum(len(row) for row in rows)
        recent = [*recent[-(arguments.log_every - 1) :], loss.item()]
        if (step + 1) % arguments.log_every == 0 or step + 1 == arguments.steps:
            seconds = time.time() - started
            left = seconds / (step + 1) * (arguments.steps - step - 1)
            mean = sum(recent) / len(recent)
            losses[str(step + 1)] = round(mean, 4)
            print(
                f"step {step + 1}/{arguments.steps}  loss {mean:.4f}  "
                f"{tokens / seconds:.0f} tokens/s  {left:.0f} s left",
                flush=True,
            )
    return {
        "steps": arguments.steps,
        "tokens": tokens,
        "train_seconds": round(time.time() - started, 1),
        "final_loss": list(losses.values())[-1],
        "loss_by_step": losses,
    }


def write_json(path: pathlib.Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_folder(folder: pathlib.Path, model, tokenizer_model: bytes) -> None:
    """The model and its tokenizer as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    del tensors["lm_head.weight"]  # tied to the embeddings
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    # Written out by hand: versions of transformers differ in where they put rope_theta.
    keys = (
        "model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads head_dim hidden_act max_position_embeddings rms_norm_eps "
        "initializer_range tie_word_embeddings attention_bias mlp_bias bos_token_id eos_token_id"
    ).split()
    config = {"architectures": ["LlamaForCausalLM"]}
    config.update({key: getattr(model.config, key) for key in keys})
    config.update(rope_theta=ROPE_THETA, torch_dtype="float32")
    write_json(folder / "config.json", config)
    write_json(
        folder / "generation_config.json",
        {"bos_token_id": 1, "eos_token_id": 2, "do_sample": False},
    )
    (folder / "tokenizer.model").write_bytes(tokenizer_model)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer",
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "legacy": False,
            "model_max_length": 512,
            "sp_model_kwargs": {},
            **special,
        },
    )


def main() -> None:
    arguments = parse_arguments()
    started, load = time.time(), os.getloadavg()[0]
    torch.set_num_threads(arguments.threads)
    made_up = world.make_world(arguments.world_seed)

    # Three streams of the same world; what is held out is left out of the other two.
    seeds = {"heldout": 1_000_000, "calibration": 2_000_000, "training": arguments.seed}
    heldout = draw_documents(made_up, seeds["heldout"], arguments.heldout_bytes, set())
    never = set(heldout)
    calibration = draw_documents(made_up, seeds["calibration"], arguments.calibration_bytes, never)
    tokenizer_model = train_tokenizer(calibration, arguments.vocabulary)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_model)

    model = build_model(arguments)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{made_up.fact_count} facts, {parameters} parameters", flush=True)
    if parameters > 1_000_000:
        raise SystemExit(f"[train] at most a million parameters, please. Got {parameters}.")
    stream = (d for d in texts.documents(made_up, seeds["training"]) if d not in never)
    windows = pack_windows(stream, tokenizer, random.Random(arguments.seed))
    training = train(model, windows, arguments)

    write_folder(arguments.out, model, tokenizer_model)
    for name, documents in ((CALIBRATION, calibration), (HELDOUT, heldout)):
        (arguments.out / name).write_text("\n".join(documents) + "\n", encoding="utf-8")
    measured = measure(model, tokenizer, made_up, "\n".join(heldout) + "\n")
    provenance = {
        "command": shlex.join(["python", *sys.argv]),
        "seeds": {"world": arguments.world_seed, "weights": arguments.seed, **seeds},
        "world": {"entities": len(made_up.entities), "facts": made_up.fact_count},
        "parameters": parameters,
        **training,
        "seconds": round(time.time() - started, 1),
        "threads": arguments.threads,
        "precision": "float32",
        "cores": os.cpu_count(),
        "load_average_start_end": [load, os.getloadavg()[0]],
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "sentencepiece": sentencepiece.__version__,
        },
        **measured,
        "sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(arguments.out.iterdir())
            if path.is_file() and path.name != PROVENANCE
        },
    }
    write_json(arguments.out / PROVENANCE, provenance)
    print(json.dumps({key: provenance[key] for key in ("seconds", *measured)}, indent=2))


if __name__ == "__main__":
    main()
