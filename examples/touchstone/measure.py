"""Measure a touchstone folder: perplexity of held-out text and what the model knows by heart.

python examples/touchstone/measure.py python/cupel/touchstone/files
"""

import argparse
import json
import math
import pathlib
import sys

import sentencepiece
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
from cupel.touchstone import HELDOUT, PROVENANCE, texts, world  # noqa: E402

PERPLEXITY_RULE = (
    "GPTQ: heldout.txt tokenised once as a whole with <s> in front, disjoint windows of 256 "
    "tokens, tail dropped, mean cross-entropy in nats of positions 1..255 of every window, exp"
)
FACT_RULE = (
    "closed book, one question per prompt, trained wording; right when the greedy continuation "
    "begins with the exact answer and its full stop (scored as the argmax at each of these tokens)"
)


@torch.no_grad()
def perplexity(model, ids: list[int], length: int = 256) -> dict:
    """Perplexity by PERPLEXITY_RULE."""
    count = len(ids) // length
    windows = torch.tensor(ids[: count * length]).view(count, length)
    total = 0.0
    for batch in windows.split(16):
        logits = model(batch, use_cache=False).logits[:, :-1].float()
        total += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum"
        ).item()
    scored = count * (length - 1)
    value = math.exp(total / scored)
    return {"value": value, "windows": count, "scored_tokens": scored, "rule": PERPLEXITY_RULE}


@torch.no_grad()
def is_known(model, tokenizer, questions: list[texts.Question], form: int) -> list[bool]:
    """For each question, whether greedy decoding gives the true answer."""
    known = []
    for start in range(0, len(questions), 128):
        batch = questions[start : start + 128]
        rows, spans = [], []
        for question in batch:
            prompt = texts.prompt(question.text, form)
            before = [tokenizer.bos_id(), *tokenizer.encode(prompt)]
            whole = [tokenizer.bos_id(), *tokenizer.encode(f"{prompt} {question.answer}.")]
            if whole[: len(before)] != before:
                raise ValueError(f"[is_known] prompt and answer share a token. Got {prompt!r}.")
            rows.append(torch.tensor(whole))
            spans.append((len(before), len(whole)))
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        best = model(padded, use_cache=False).logits.argmax(-1)
        for row, guess, (begin, end) in zip(rows, best, spans, strict=True):
            known.append(torch.equal(guess[begin - 1 : end - 1], row[begin:end]))
    return known


def fact_accuracy(model, tokenizer, made_up: world.World) -> dict:
    """Share of right answers for frequent and rare entities in both prompt forms."""
    every_wording = texts.questions(made_up)
    result: dict = {"rule": FACT_RULE}
    for name, form, chosen in (
        ("first_wording", 0, [q for q in every_wording if q.is_first_wording]),
        ("all_wordings", 0, every_wording),
        ("all_wordings_please_form", 1, every_wording),
    ):
        known = is_known(model, tokenizer, chosen, form)
        for group, frequent in (("frequent", True), ("rare", False)):
            members = [index for index, q in enumerate(chosen) if q.entity.frequent == frequent]
            right = sum(known[index] for index in members)
            result.setdefault(name, {})[group] = {
                "accuracy": round(right / len(members), 4),
                "questions": len(members),
            }
    return result


def measure(model, tokenizer, made_up: world.World, heldout: str) -> dict:
    """All measurements that go into provenance.json; `tokenizer` is SentencePiece's."""
    model.eval()
    return {
        "heldout_perplexity": perplexity(model, [tokenizer.bos_id(), *tokenizer.encode(heldout)]),
        "facts": fact_accuracy(model, tokenizer, made_up),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="a folder written by train.py")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32)
    tokenizer = sentencepiece.SentencePieceProcessor(
        model_file=str(arguments.folder / "tokenizer.model")
    )
    heldout = (arguments.folder / HELDOUT).read_text(encoding="utf-8")
    ids = transformers.AutoTokenizer.from_pretrained(arguments.folder)(heldout)["input_ids"]
    same = ids == [tokenizer.bos_id(), *tokenizer.encode(heldout)]
    provenance = json.loads((arguments.folder / PROVENANCE).read_text(encoding="utf-8"))
    made_up = world.make_world(provenance["seeds"]["world"])
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "transformers_ids_equal_sentencepiece_ids": same,
        **measure(model, tokenizer, made_up, heldout),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
