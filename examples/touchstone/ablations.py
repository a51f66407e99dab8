"""Side experiments on the touchstone: comparison groups, calibration text, number of windows.

    python examples/touchstone/ablations.py --out ablations.json

Every model is scored on the same items as the dense one; what is printed is the difference with its
paired 95 % interval.
"""

import argparse
import json
import pathlib
import tempfile

import cupel
import torch
from cupel import touchstone
from cupel.touchstone.world import write_world
from measure import TASKS, name_in_results

LABELS = (
    "facts: famous",
    "facts: little known",
    "facts: obscure",
    "multiple choice",
    "open book: one person",
    "summaries",
    "instructions",
    "perplexity: facts",
    "perplexity: stories",
)
LENGTH = 128


def experiments() -> list[tuple[str, cupel.Compressor, str, int, int]]:
    """(name, compressor, calibration text, windows, seed of the draw)."""
    half, n_m = cupel.unstructured(0.5), cupel.n_of_m(2, 4)
    made = [
        ("magnitude 50 %, per matrix", cupel.Prune("magnitude", cupel.matrix_wise(0.5))),
        ("magnitude 50 %, per row", cupel.Prune("magnitude", cupel.row_wise(0.5))),
        ("wanda 50 %, per row", cupel.Prune("wanda", cupel.row_wise(0.5))),
        ("wanda 50 %, per matrix", cupel.Prune("wanda", cupel.matrix_wise(0.5))),
    ]
    found = [(name, compressor, "calibration", 32, 0) for name, compressor in made]
    for text in ("calibration", "calibration_plain"):
        words = "with questions" if text == "calibration" else "profiles and stories only"
        grid = cupel.Grid(bits=3, group=64)
        for name, compressor in (
            ("wanda 50 %", cupel.Prune("wanda", half)),
            ("sparsegpt 50 %", cupel.SparseGpt(half)),
            ("sparsegpt 2:4", cupel.SparseGpt(n_m)),
            ("gptq 3 bits", cupel.Gptq(grid)),
        ):
            found.append((f"{name}, {words}", compressor, text, 32, 0))
    for windows in (2, 8, 32, 128):
        for name, compressor in (
            ("wanda 60 %", cupel.Prune("wanda", cupel.unstructured(0.6))),
            ("sparsegpt 60 %", cupel.SparseGpt(cupel.unstructured(0.6))),
        ):
            for seed in (0, 1):
                found.append(
                    (
                        f"{name}, {windows} windows, draw {seed}",
                        compressor,
                        "calibration",
                        windows,
                        seed,
                    )
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=touchstone.folder())
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSON file to write")
    parser.add_argument("--limit", type=int, default=0, help="the first items of each task only")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer = cupel.load_tokenizer(arguments.model)
    cupel.use_model_template(arguments.model)
    with tempfile.TemporaryDirectory() as parent:
        folder = pathlib.Path(parent) / "world"
        write_world(folder, touchstone.WORLD_SEED)
        tasks = {label: TASKS[label][0].replace("file=", f"file={folder}/") for label in LABELS}

        texts = list(tasks.values())

        def score(model) -> cupel.EvalResult:
            return cupel.evaluate(model, tokenizer, texts, limit=arguments.limit)

        dense = score(cupel.load_model(arguments.model, dtype="float32"))
        found = []
        for title, compressor, text, windows, seed in experiments():
            model = cupel.load_model(arguments.model, dtype="float32")
            calibration = cupel.sample_windows(
                folder / "text" / f"{text}.txt",
                tokenizer,
                samples=windows,
                length=LENGTH,
                seed=seed,
            )
            cupel.compress(model, calibration, compressor)
            compared = json.loads(cupel.compare(dense, score(model)).to_json())
            row = {"name": title, "calibration": text, "windows": windows, "seed": seed}
            for label, task in tasks.items():
                name = name_in_results(task, texts)
                row[label] = change(compared, name, TASKS[label][1])
            found.append(row)
            print(title, {label: row[label] for label in LABELS}, flush=True)
            arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def change(compared: dict, task: str, value: str) -> dict[str, float]:
    """The ratio of a perplexity, or the difference of a score, with its interval."""
    for pair in compared["perplexities"]:
        if pair["task"] == task and pair["protocol"] != "paper":
            low, high = pair["ratio_interval"]
            return {"ratio": round(pair["ratio"], 4), "low": round(low, 4), "high": round(high, 4)}
    for pair in compared["tasks"]:
        if (pair["task"], pair["protocol"], pair["metric"]) == (task, "strict", value):
            low, high = pair["interval"]
            rounded = {"low": round(low, 4), "high": round(high, 4)}
            return {"difference": round(pair["difference"], 4), **rounded}
    raise KeyError(f"[change] the comparison has task '{task}' and value '{value}'.")


if __name__ == "__main__":
    main()
