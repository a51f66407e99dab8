"""Score a touchstone model on everything that a world asks, by cupel's own tasks, greedy.

    python examples/touchstone/measure.py python/cupel/touchstone/files --out scores
    python examples/touchstone/measure.py MODEL --world-seed 1 --out other   # a world it never saw

Writes measured-SEED.json: each task's value, that of its first items, how many there are,
and its parts.
"""

import argparse
import json
import math
import pathlib
import tempfile

import cupel
import torch
from cupel.touchstone.society import RANKS
from cupel.touchstone.world import write_world

FIRST = 24  # items whose value stands apart, so that a test can measure it again

# label -> (task, value that counts); files are below the world's folder.
TASKS = {
    **{
        f"facts: {rank.name.replace('_', ' ')}": (
            f"factoid_qa:file=freebaseqa/{rank.name}.json,max_new_tokens=8,protocols=strict",
            "accuracy",
        )
        for rank in RANKS
    },
    **{
        f"only told: {rank.name.replace('_', ' ')}": (
            f"factoid_qa:file=freebaseqa/told_{rank.name}.json,max_new_tokens=8,protocols=strict",
            "accuracy",
        )
        for rank in RANKS
    },
    "facts: unseen wording": (
        "factoid_qa:file=freebaseqa/unseen_wording.json,max_new_tokens=8,protocols=strict",
        "accuracy",
    ),
    "multiple choice": ("mmlu:file=mmlu,shots=0,full_text=1,protocols=strict", "text_accuracy"),
    "open book: one person": (
        "retrieval_qa:file=triviaqa/one_person.json,order=wiki,max_new_tokens=8,protocols=strict",
        "em",
    ),
    "open book: two people": (
        "retrieval_qa:file=triviaqa/two_people.json,order=wiki,max_new_tokens=8,protocols=strict",
        "em",
    ),
    "summaries": (
        "summarization:file=summaries/news.jsonl,template=model,max_new_tokens=80,protocols=strict",
        "facts",
    ),
    "instructions": (
        "instruction:file=instructions/question.jsonl,template=model,max_new_tokens=24,"
        "temperature=0,protocols=strict",
        "follows",
    ),
    "perplexity: facts": ("perplexity:file=text/facts.txt,length=128", "perplexity"),
    "perplexity: stories": ("perplexity:file=text/stories.txt,length=128", "perplexity"),
}


def of_first(result: cupel.EvalResult, task: str, value: str) -> float:
    """The value over the first items, or windows, of a task."""
    if value == "perplexity":
        losses = result.perplexities[task].window_losses[:FIRST]
        return math.exp(sum(losses) / len(losses))
    values = [item.values[value] for item in result.items(task, "strict")[:FIRST]]
    return sum(values) / len(values)


def name_in_results(text: str, tasks: list[str]) -> str:
    """What evaluate() calls a task among others: its bare name where no other task has it."""
    name = text.split(":")[0]
    return name if sum(one.startswith(name + ":") for one in tasks) == 1 else text


def score(folder: pathlib.Path, world_folder: pathlib.Path, limit: int | None) -> dict:
    """Values of TASKS in float32, strict protocol."""
    model = cupel.load_model(folder, dtype="float32")
    tokenizer = cupel.load_tokenizer(folder)
    cupel.use_model_template(folder)
    tasks = [text.replace("file=", f"file={world_folder}/") for text, _ in TASKS.values()]
    result = cupel.evaluate(model, tokenizer, tasks, limit=limit or 0)
    measured = {}
    for (label, (_, value)), text in zip(TASKS.items(), tasks, strict=True):
        task = name_in_results(text, tasks)
        (metrics,) = result.metrics[task].values()
        first = of_first(result, task, value)
        measured[label] = {"value": round(metrics[value], 4), "of": value, "first": round(first, 4)}
        measured[label]["items"] = round(metrics.get("items", 0)) or len(
            result.perplexities[task].window_losses
        )
        parts = {k: round(v, 4) for k, v in metrics.items() if k.startswith(f"{value}/")}
        if parts:
            measured[label]["parts"] = parts
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="a model folder written by train.py")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the result")
    parser.add_argument("--world-seed", type=int, default=0, help="which world to ask about")
    parser.add_argument("--limit", type=int, help="the first items of each task only")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        world_folder = pathlib.Path(name) / "world"
        write_world(world_folder, arguments.world_seed)
        measured = score(arguments.folder, world_folder, arguments.limit)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"measured-{arguments.world_seed}.json"
    path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    for label, found in measured.items():
        print(f"{label:28} {found['value']:8.4f}  ({found['of']})")


if __name__ == "__main__":
    main()
