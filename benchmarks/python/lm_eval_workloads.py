"""What compare_lm_eval.py measures: a random model, its tokenizer and three made-up workloads.

Everything follows from the seed, the texts that come with cupel, and (for the tokenizer alone) real
text, where a folder of it is given.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cupel

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 4096,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_theta": 10000.0,
    "torch_dtype": "float32",
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
    "legacy": False,
    "model_max_length": 2048,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}
SUBJECTS = (
    "harbour towns, river crossings, old stories, famous paintings, country houses, "
    "market days, theatre plays, winter journeys"
).split(", ")
LETTERS = "ABCD"
SHOTS = 5


@dataclass
class Workload:
    """Pairs to score, `choices` of them a question; or texts, each scored as a whole."""

    name: str
    title: str
    choices: int = 0
    pairs: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def head(self, questions: int) -> Workload:
        """The first questions alone; the workload itself when it has none."""
        pairs = self.pairs[: questions * self.choices]
        return Workload(self.name, self.title, self.choices, pairs, self.texts)


@dataclass
class Work:
    """What one side has to run for a workload."""

    tokens: int = 0
    flops: float = 0.0

    def add(self, first: int, last: int, head: int) -> None:
        """Tokens at the positions first .. last - 1, and the output layer for `head` of them."""
        width, kv = CONFIG["hidden_size"], CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
        linear = width * (2 * width + 2 * kv + 3 * CONFIG["intermediate_size"])
        keys = (last * (last + 1) - first * (first + 1)) / 2
        per_layer = 2 * linear * (last - first) + 4 * width * keys
        self.tokens += last - first
        self.flops += CONFIG["num_hidden_layers"] * per_layer
        self.flops += 2 * width * CONFIG["vocab_size"] * head


def corpus() -> str:
    """The texts that come with cupel."""
    names = (cupel.touchstone.CALIBRATION, cupel.touchstone.HELDOUT)
    return "\n".join((cupel.touchstone.folder() / n).read_text(encoding="utf-8") for n in names)


def make_weights(seed: int) -> dict:
    """A random Llama of 27.8 M parameters."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    width, inner, kv = CONFIG["hidden_size"], CONFIG["intermediate_size"], 256
    shapes = {"model.embed_tokens": (CONFIG["vocab_size"], width), "model.norm": (width,)}
    for i in range(CONFIG["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.{n}_layernorm": (width,) for n in ("input", "post_attention")}
        for name, rows in {"q": width, "k": kv, "v": kv, "o": width}.items():
            shapes[f"{layer}.self_attn.{name}_proj"] = (rows, width)
        shapes |= {f"{layer}.mlp.{n}_proj": (inner, width) for n in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj"] = (width, inner)
    shapes["lm_head"] = (CONFIG["vocab_size"], width)
    return {
        f"{name}.weight": torch.ones(shape)
        if len(shape) == 1
        else torch.randn(shape, generator=generator) * 0.04
        for name, shape in shapes.items()
    }


def tokenizer_lines(seed: int, data: Path | None) -> list[str]:
    """Text to learn pieces from: cupel's own, questions, and some web text where there is any."""
    lines = corpus().splitlines()
    for workload in (letters(seed, 40), full_texts(seed, 8)):
        for context, continuation in workload.pairs:
            lines += (context + continuation).splitlines()
    web = data / "webtext" / "openwebtext_1000.jsonl" if data else None
    if web and web.exists():
        with web.open(encoding="utf-8") as file:
            for record in islice(file, 400):
                lines += json.loads(record)["text"].splitlines()
    return [line[:4000] for line in lines if line.strip()]


def make_tokenizer(seed: int, data: Path | None) -> tuple[bytes, int]:
    """A Llama-style SentencePiece model of 4096 pieces, or fewer where the text has no more."""
    import sentencepiece

    lines = tokenizer_lines(seed, data)
    for pieces in (4096, 3072, 2048, 1536, 1024, 768):
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                vocab_size=pieces,
                model_type="bpe",
                byte_fallback=True,
                split_digits=True,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                character_coverage=0.9995,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            if "ocabulary size" not in str(error):
                raise
            continue
        return model.getvalue(), pieces
    raise RuntimeError("the text is too small for a tokenizer")


def make_folder(folder: Path, seed: int, data: Path | None) -> int:
    """Writes model and tokenizer as a Hugging Face folder; returns the number of pieces."""
    from safetensors.torch import save_file

    save_file(make_weights(seed), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1), encoding="utf-8")
    model, pieces = make_tokenizer(seed, data)
    (folder / "tokenizer.model").write_bytes(model)
    config = json.dumps(TOKENIZER_CONFIG, indent=1)
    (folder / "tokenizer_config.json").write_text(config, encoding="utf-8")
    return pieces


class Writer:
    """Writes questions from the sentences of cupel's held-out text."""

    def __init__(self, seed: int) -> None:
        path = cupel.touchstone.folder() / cupel.touchstone.HELDOUT
        lines = path.read_text(encoding="utf-8").splitlines()
        profiles = [line.removeprefix("Profile: ") for line in lines]
        sentences = dict.fromkeys(
            sentence.strip(" .") for profile in profiles for sentence in profile.split(". ")
        )
        self.sentences = [s for s in sentences if 5 <= len(s.split()) <= 13]
        self.rng = random.Random(seed)

    def sentence(self) -> str:
        return self.rng.choice(self.sentences) + "."

    def stem(self, words: int) -> str:
        """Sentences of at least so many words together, and a question."""
        parts: list[str] = []
        while len(" ".join(parts).split()) < words:
            parts.append(self.sentence())
        return " ".join([*parts, "Which of these belongs to it?"])

    def letter_question(self) -> tuple[str, str]:
        """A question with four lettered choices, and a letter."""
        options = [" ".join(self.sentence()[:-1].split()[-3:]) for _ in LETTERS]
        shown = "".join(f"{k}. {option}\n" for k, option in zip(LETTERS, options, strict=True))
        return f"{self.stem(54)}\n{shown}Answer:", self.rng.choice(LETTERS)


def header(subject: str) -> str:
    return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


def letters(seed: int, questions: int) -> Workload:
    """Five-shot questions; each has the same four continuations, one token each."""
    writer = Writer(seed)
    workload = Workload("letters", f"{questions} letter questions", len(LETTERS))
    for subject, count in spread(questions):
        shots = [writer.letter_question() for _ in range(SHOTS)]
        before = header(subject) + "".join(f"{q} {answer}\n\n" for q, answer in shots)
        for _ in range(count):
            context = before + writer.letter_question()[0]
            workload.pairs += [(context, f" {letter}") for letter in LETTERS]
    return workload


def full_texts(seed: int, questions: int) -> Workload:
    """Five-shot questions; each has four sentences to choose from."""
    writer = Writer(seed + 1)
    workload = Workload("full-text", f"{questions} full-text questions", len(LETTERS))
    for subject, count in spread(questions):
        before = header(subject)
        for _ in range(SHOTS):
            before += f"Question: {writer.stem(75)}\nAnswer: {writer.sentence()}\n\n"
        for _ in range(count):
            context = f"{before}Question: {writer.stem(75)}\nAnswer:"
            workload.pairs += [(context, f" {writer.sentence()}") for _ in LETTERS]
    return workload


def spread(questions: int) -> Iterator[tuple[str, int]]:
    """The subjects, and how many of the questions each gets."""
    for i, subject in enumerate(SUBJECTS):
        if count := len(range(i, questions, len(SUBJECTS))):
            yield subject, count


def rolling(folder: Path, tokens: int) -> Workload:
    """One text of about so many tokens."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    text = pieces.decode(pieces.encode(corpus())[: tokens - 1])  # one more is BOS
    return Workload("rolling", f"rolling perplexity, {tokens:,} tokens", texts=[text])


def make_workloads(folder: Path, seed: int, quick: bool) -> dict[str, Workload]:
    if quick:
        made = letters(seed, 16), full_texts(seed, 8), rolling(folder, 5_120)
    else:
        made = letters(seed, 200), full_texts(seed, 48), rolling(folder, 51_200)
    return {workload.name: workload for workload in made}
