"""Evaluates pruning by a task of your own: does the model still tell a sentence from the same words
in another order?

    python examples/python/5_own_task.py [MODEL CALIBRATION HELDOUT OUT]

Without arguments it works on the small model that comes with cupel and writes to ./own-task.
"""

import sys
from pathlib import Path

import cupel

BEGINNING, REST, MOST = 6, 6, 200  # words before, words that may be swapped, questions


# A task loads items, says what to ask of each, and scores the answers. It never sees a model, so it
# measures a dense one, a compressed one and any other scorer alike. From here on "word_order" is a
# name like "multiple_choice".
@cupel.task("word_order")
class WordOrder(cupel.Task):
    info = cupel.TaskInfo(
        "word_order",
        version="1",  # to be changed when the same file gives other scores
        description="the likelier of a passage and the same with two neighbouring words swapped",
        options={"swap": ("2", "how many words of the passage stand before the swapped pair")},
    )

    def load(self, path, options):
        words = [word.decode() for word in Path(path).read_bytes().split()]
        swap = int(options["swap"])
        if not 0 <= swap <= REST - 2:
            raise ValueError(f"[word_order] swap is from 0 to {REST - 2}. Got {swap}.")
        items = []
        for at in range(0, len(words) - BEGINNING - REST + 1, BEGINNING + REST):
            rest = words[at + BEGINNING : at + BEGINNING + REST]
            other = rest.copy()
            other[swap], other[swap + 1] = rest[swap + 1], rest[swap]
            if other == rest or len(items) == MOST:
                continue
            items.append(
                {
                    "id": f"word {at}",  # its own, and the same in every run: records go by it
                    "category": "sentence ends" if "." in rest[swap] else "inside",
                    "beginning": " ".join(words[at : at + BEGINNING]),
                    "rests": [" " + " ".join(rest), " " + " ".join(other)],
                }
            )
        return items

    def requests(self, item, protocol, outputs):
        if outputs:  # both were asked: the item ends
            return []
        # The beginning is the same in both and runs once.
        return [(item["beginning"], rest) for rest in item["rests"]]

    def score(self, item, protocol, outputs):
        right, swapped = (output.likelihood.value for output in outputs)
        return cupel.ItemScore(
            {"accuracy": float(right > swapped), "margin": right - swapped},
            prediction=item["rests"][right <= swapped],
            gold=item["rests"][0],
        )


def main(model_folder: Path, calibration: Path, heldout: Path, out: Path) -> None:
    model = cupel.load_model(model_folder)
    tokenizer = cupel.load_tokenizer(model_folder)
    tasks = ["perplexity", f"word_order:file={heldout}"]
    dense = cupel.evaluate(model, tokenizer, tasks, text=heldout)

    length = min(256, model.config.max_positions)
    windows = cupel.sample_windows(calibration, tokenizer, samples=32, length=length, seed=0)
    cupel.compress(model, windows, cupel.Prune("wanda", cupel.unstructured(0.5)))
    compressed = cupel.evaluate(model, tokenizer, tasks, text=heldout)

    # A task of your own is compared as any other: paired intervals, McNemar's test, flips, verdict.
    comparison = cupel.compare(dense, compressed)
    for name, scores in (("dense", dense), ("compressed", compressed)):
        accuracy = scores.metrics["word_order"]["strict"]["accuracy"]
        print(f"{name} word order accuracy: {accuracy:.4f}")
    print(f"dense perplexity: {comparison.perplexities[0].dense:.4f}")
    print(f"compressed perplexity: {comparison.perplexities[0].compressed:.4f}")
    print(f"\n{comparison.to_markdown()}")

    cupel.save_model(model, out)
    print(f"written to {out}")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        main(*map(Path, sys.argv[1:]))
    elif len(sys.argv) == 1:
        shipped = cupel.touchstone.folder()
        texts = (cupel.touchstone.CALIBRATION, cupel.touchstone.HELDOUT)
        main(shipped, *(shipped / text for text in texts), Path("own-task"))
    else:
        sys.exit(__doc__)
