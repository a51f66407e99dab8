"""Evaluates a model before and after pruning, on a text and on questions, and compares the two.

    python examples/python/4_evaluate.py [MODEL CALIBRATION HELDOUT OUT]

Without arguments it works on the small model that comes with cupel and writes to ./evaluated.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import cupel

CONTEXT, MOST = 10, 200  # words of a context; questions


def write_questions(heldout: Path, file: Path) -> int:
    """Writes a question a line: which of four words ends this sentence? All four follow the word
    before at some place in the text. A text without full stops is asked for any word."""
    words = [word.decode() for word in heldout.read_bytes().split()]
    asked = {word for word in words if word.endswith(".")} or set(words)
    followers: dict[str, list[str]] = {}
    for word, after in pairwise(words):
        known = followers.setdefault(word, [])
        if after in asked and after not in known:
            known.append(after)
    lines: list[str] = []
    for at in range(CONTEXT, len(words)):
        others = [word for word in followers[words[at - 1]] if word != words[at]]
        if words[at] not in asked or len(others) < 3:
            continue
        if len(lines) == MOST:
            break
        number = len(lines)
        choices = [others[(number + i) % len(others)] for i in range(3)]
        choices.insert(number % 4, words[at])
        question = {
            "context": " ".join(words[at - CONTEXT : at]),
            "choices": choices,
            "answer": number % 4,
        }
        lines.append(json.dumps(question, ensure_ascii=False) + "\n")
    file.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def main(model_folder: Path, calibration: Path, heldout: Path, out: Path) -> None:
    model = cupel.load_model(model_folder)
    tokenizer = cupel.load_tokenizer(model_folder)
    out.mkdir(parents=True, exist_ok=True)
    # Where the task looks for its file in the folder `data`; "multiple_choice:file=..." names another.
    count = write_questions(heldout, out / "multiple_choice.jsonl")

    def score(name: str) -> cupel.EvalResult:
        # Everything scored is written to the record as it comes. If this ends half way, the next run
        # goes on from there; it would refuse the record of another model, text or setting.
        return cupel.evaluate(
            model,
            tokenizer,
            ["perplexity", "multiple_choice"],
            data=out,
            text=heldout,
            record=out / "records" / name,
            resume=True,
        )

    dense = score("dense")
    length = min(256, model.config.max_positions)
    windows = cupel.sample_windows(calibration, tokenizer, samples=32, length=length, seed=0)
    cupel.compress(model, windows, cupel.Prune("wanda", cupel.unstructured(0.5)))
    compressed = score("compressed")

    # Pairs window with window and question with question. It refuses two evaluations of other data,
    # tokenizers or settings.
    comparison = cupel.compare(dense, compressed)
    perplexity = comparison.perplexities[0]
    print(f"{count} questions")
    print(f"dense perplexity:      {perplexity.dense:.4f}")
    print(f"compressed perplexity: {perplexity.compressed:.4f}")
    # Difference with its interval; McNemar's p, adjusted for all rows; how many answers flipped; the
    # smallest difference that so many questions could show; and whether 95 % of the score is kept.
    print(f"\n{comparison.to_markdown()}")

    cupel.save_model(model, out)
    print(f"written to {out}")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        main(*map(Path, sys.argv[1:]))
    elif len(sys.argv) == 1:
        shipped = cupel.touchstone.folder()
        texts = (cupel.touchstone.CALIBRATION, cupel.touchstone.HELDOUT)
        main(shipped, *(shipped / text for text in texts), Path("evaluated"))
    else:
        sys.exit(__doc__)
