"""Folders of grids as `cupel kick` leaves them: real ones, and made-up scores for the edges."""

import json
import random

import cupel
from cupel import touchstone
from cupel.touchstone import world
from touchstone_questions import asked_facts, choice, prompt

TEXT_LENGTH = 128


def quiz(file, count, seed=0):
    """Questions on the made-up world with four choices each, its attributes as categories."""
    rng = random.Random(seed)
    made = world.make_world(touchstone.WORLD_SEED)
    asked = asked_facts(rng, made, count)
    write_lines(file, [choice(rng, made, *fact, f"q{n}") for n, fact in enumerate(asked)])
    return file


def facts(file, count, seed=1):
    """The same world, to be answered in words."""
    rng = random.Random(seed)
    asked = asked_facts(rng, world.make_world(touchstone.WORLD_SEED), count)
    lines = [
        {"id": f"f{n}", "prompt": prompt(rng, person, of), "answers": [person.facts[of]]}
        for n, (person, of) in enumerate(asked)
    ]
    write_lines(file, lines)
    return file


def write_lines(file, lines):
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_json(file, value):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1), encoding="utf-8")


def real_grid(folder, cells, items=40):
    """A grid of the small model that ships with cupel: really compressed, really evaluated.

    cells: (method, kind, level, seed), e.g. ("wanda", "sparsity", 0.5, 0).
    """
    folder.mkdir(parents=True)
    model_folder = touchstone.folder()
    tokenizer = cupel.load_tokenizer(model_folder)
    text = folder / "heldout.txt"
    heldout = (model_folder / touchstone.HELDOUT).read_text("utf-8")
    text.write_text(heldout[: 250 * items], encoding="utf-8")
    tasks = [
        "perplexity",
        f"multiple_choice:file={quiz(folder / 'quiz.jsonl', items)}",
        f"generation:file={facts(folder / 'facts.jsonl', items)},max_new_tokens=12,stop=\\n",
    ]

    def score(model, where):
        result = cupel.evaluate(
            model, tokenizer, tasks, text=text, length=TEXT_LENGTH, record=where / "records"
        )
        (where / "scores.json").write_text(result.to_json(), encoding="utf-8")
        return result

    def new_cell(where, id, **more):
        write_json(where / "cell.json", {"id": id, "status": "done", "notes": []} | more)

    entries = [entry(*cell) for cell in cells]
    dense = cupel.load_model(model_folder, dtype="float32")  # faster than the stored bfloat16
    write_json(folder / "kick.json", kick("touchstone", tasks, entries))
    size = 2 * cupel.weight_bytes_on_disk(model_folder)
    result = score(dense, folder / "dense")
    seconds = {"compress": 0, "evaluate": result.run.seconds}
    new_cell(folder / "dense", "dense", seconds=seconds, weight_bytes=size, parameters=size // 4)
    for one in entries:
        model = cupel.load_model(model_folder, dtype="float32")
        windows = cupel.sample_windows(
            model_folder / touchstone.CALIBRATION,
            tokenizer,
            samples=8,
            length=TEXT_LENGTH,
            seed=one["seed"],
        )
        done = cupel.compress(model, windows, compressor(one))
        where = folder / "cells" / one["id"]
        result = score(model, where)
        (where / "compression.json").write_text(done.to_json(), encoding="utf-8")
        packed = sum(layer.packed_bytes for layer in done.layers)
        new_cell(
            where,
            one["id"],
            seconds={"compress": done.seconds, "evaluate": result.run.seconds},
            sparsity=done.sparsity,
            bits_per_weight=8 * packed / done.weights,
            weight_bytes=size,
            packed_bytes=packed + size - 4 * done.weights,
            parameters=size // 4,
        )
    return folder


def compressor(one):
    level = one["level"]
    if one["kind"] == "bits":
        grid = cupel.Grid(bits=int(level), group=64)
        return cupel.Rtn(grid) if one["method"] == "rtn" else cupel.Gptq(grid)
    if one["kind"] == "pattern":
        goal = cupel.n_of_m(*map(int, level.split(":")))
    else:
        goal = cupel.unstructured(level)
    if one["method"] == "sparsegpt":
        return cupel.SparseGpt(goal)
    return cupel.Prune(one["method"], goal)


def entry(method, kind, level, seed=0):
    """A cell of kick.json."""
    shown = {"sparsity": lambda x: f"{100 * x:g} %", "bits": lambda x: f"{x} bits"}.get(kind, str)(
        level
    )
    words = shown.replace(" %", "").replace(":", "of").replace(" ", "")
    return {
        "id": f"{method}-{words}-s{seed}",
        "method": method,
        "kind": kind,
        "level": level,
        "label": f"{method} {shown}",
        "seed": seed,
    }


def kick(name, tasks, cells, **more):
    return {
        "cupel_kick": 1,
        "cupel": cupel.__version__,
        "model": {"name": name, "path": "models/" + name, "fingerprint": "f" * 64},
        "data": "",
        "tasks": tasks,
        "settings": {"seeds": [0], "calibration": {"file": "calibration.txt", "samples": 8}},
        "cells": cells,
    } | more


def scores(tasks, losses=None, categories=None, flags=None, fingerprint=""):
    """The text of a scores.json. tasks: name -> values of its items, each a number or (value, answer);
    losses: nats per token of each window."""
    model = {
        "vocabulary": 96, "max_length": 64, "device": "cpu", "dtype": "float32",
        "fingerprint": fingerprint, "has_states": True,
    }  # fmt: skip
    result = {
        "model": model, "tokenizer": "t", "settings": {}, "metrics": {}, "perplexities": {},
        "manifests": {}, "items": {},
        "run": {
            "seconds": 1.0, "tokens_run": 1, "tokens_shared": 0, "items_recorded": 0,
            "dropped_lines": 0, "notes": [],
        },
    }  # fmt: skip
    for name, values in tasks.items():
        items = []
        for number, value in enumerate(values):
            value, answer = value if isinstance(value, tuple) else (value, str(value))
            category = categories[number % len(categories)] if categories else ""
            items.append(
                {
                    "item": f"i{number}", "category": category, "prediction": answer, "gold": "1",
                    "values": {"accuracy": value}, "flags": [],
                }
            )  # fmt: skip
        mean = sum(item["values"]["accuracy"] for item in items) / len(items)
        metrics = {"accuracy": mean, "items": len(items)}
        for category in categories or []:
            own = [item["values"]["accuracy"] for item in items if item["category"] == category]
            metrics |= {f"accuracy/{category}": sum(own) / len(own), f"items/{category}": len(own)}
        metrics |= {f"flag_{flag}": count for flag, count in (flags or {}).items()}
        result["metrics"][name] = {"strict": metrics}
        result["items"][name] = {"strict": items}
        result["manifests"][name] = manifest(name, len(items), model)
    if losses is not None:
        result["perplexities"]["perplexity"] = perplexity(losses)
        result["manifests"]["perplexity"] = manifest("perplexity", len(losses), model)
    return json.dumps(result, indent=1)


def manifest(task, items, model):
    return {
        "cupel": "0.1.0", "task": task, "task_version": "1", "protocols": ["strict"], "options": {},
        "data": {"file": f"{task}.jsonl", "sha256": "0" * 64},
        "items": {"count": items, "sha256": "1" * 64}, "requests_sha256": "2" * 64, "tokenizer": "t",
        "model": {key: model[key] for key in ("fingerprint", "dtype", "device", "vocabulary")},
        "scorer": {}, "seed": 0, "limit": 0,
    }  # fmt: skip


def perplexity(losses):
    import math

    mean = sum(losses) / len(losses)
    return {
        "perplexity": math.exp(mean), "loss": mean, "standard_error": 0.1, "protocol": "gptq",
        "length": 64, "stride": 0, "bos": "auto", "windows": len(losses), "documents": 0,
        "skipped_documents": 0, "tokens": 64 * len(losses), "scored_tokens": 63 * len(losses),
        "dropped_tokens": 0, "words": 0, "bytes": 0, "word_perplexity": None,
        "byte_perplexity": None, "bits_per_byte": None, "file": "text", "file_sha256": "3" * 64,
        "tokenizer": "t", "notes": [], "seconds": 1.0, "window_losses": losses,
        "window_tokens": [63] * len(losses),
    }  # fmt: skip


def made_grid(folder, dense, cells, name="made-up", **more):
    """A grid of given scores. cells: ((method, kind, level[, seed]), text of scores.json, or an
    exception for a failed cell, or None for one that did not run)."""
    entries = [entry(*cell) for cell, _ in cells]
    tasks = list(json.loads(dense)["manifests"]) if dense else []
    write_json(folder / "kick.json", kick(name, tasks, entries, **more))
    for where, id, text in [
        (folder / "dense", "dense", dense),
        *(
            (folder / "cells" / e["id"], e["id"], t)
            for e, (_, t) in zip(entries, cells, strict=True)
        ),
    ]:
        if text is None:
            continue
        record = {"id": id, "status": "done", "seconds": {"compress": 1.5, "evaluate": 2.5}}
        if isinstance(text, Exception):
            record |= {"status": "failed", "error": f"{type(text).__name__}: {text}"}
        else:
            where.mkdir(parents=True, exist_ok=True)
            (where / "scores.json").write_text(text, encoding="utf-8")
            record |= {
                "sparsity": 0.5,
                "bits_per_weight": 9.0,
                "weight_bytes": 2000,
                "packed_bytes": 1100,
            }
        write_json(where / "cell.json", record)
    return folder
