"""A made-up world in the files of cupel.touchstone.world.write_world, small enough for tests, and a copy of
the small model that takes its prompts."""

import csv
import json
import random
import shutil

from cupel import touchstone

FAMES = ("famous", "known", "little_known", "obscure")
SUBJECTS = ("towns", "employers", "jobs", "foods", "instruments")
PEOPLE = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lily")
THINGS = ("ball", "dog", "cat", "tree", "book", "cup", "box", "hat")


def write_world(folder, seed, items=8):
    """What the generator writes, with `items` items a task (and 5 times as many choices)."""
    rng = random.Random(seed)

    def sentence():
        return (
            f"{rng.choice(PEOPLE)} has a {rng.choice(THINGS)} and likes the {rng.choice(THINGS)}."
        )

    def write(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def paragraphs(count, sentences=8):
        return "\n".join(" ".join(sentence() for _ in range(sentences)) for _ in range(count))

    for name, count in (
        ("stories", 6),
        ("facts", 6),
        ("calibration", 30),
        ("calibration_plain", 30),
    ):
        write(f"text/{name}.txt", paragraphs(count * max(1, items // 8)) + "\n")
    for name in (*FAMES, *(f"told_{fame}" for fame in FAMES), "unseen_wording"):
        questions = [
            {
                "Question-ID": f"{name}-{i}",
                "RawQuestion": f"What does {rng.choice(PEOPLE)} number {i} have?",
                "Parses": [{"Answers": [{"AnswersName": [rng.choice(THINGS)]}]}],
            }
            for i in range(items)
        ]
        write(f"freebaseqa/{name}.json", json.dumps({"Questions": questions}))
    for subject in SUBJECTS:
        for split, count in (("dev", 5), ("val", 2), ("test", items)):
            path = folder / "mmlu" / split / f"{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as file:
                for i in range(count):
                    asked = f"What does {rng.choice(PEOPLE)} of {subject} {i} have?"
                    answer = rng.choice("ABCD")
                    csv.writer(file).writerow([asked, *rng.sample(THINGS, 4), answer])
    for name in ("one_person", "two_people"):
        data = []
        for i in range(items):
            page = f"{name}_{i}.txt"
            write(f"triviaqa/evidence/wikipedia/{page}", paragraphs(1, 6))
            answer = rng.choice(THINGS)
            made = {"NormalizedAliases": [answer], "NormalizedValue": answer, "Value": answer}
            data.append(
                {
                    "Question": f"What does {rng.choice(PEOPLE)} have?",
                    "QuestionId": f"{name}-{i}",
                    "Answer": made | {"Aliases": [answer]},
                    "EntityPages": [{"Filename": page}],
                    "SearchResults": [],
                }
            )
        write(f"triviaqa/{name}.json", json.dumps({"Data": data}))
    lines = []
    for i in range(items):
        story = paragraphs(1, 6) + f" That was story {i}."
        facts = [f"has a {thing}" for thing in rng.sample(THINGS, 2)]
        lines.append({"question_id": i, "text": story, "highlights": facts, "facts": facts})
        write(f"summaries/stories/{i}.story", story + "\n\n@highlight\n\n" + facts[0] + "\n")
    write("summaries/news.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    lines = [
        {
            "question_id": i,
            "text": f"Write about a {rng.choice(THINGS)} in a sentence, number {i}.",
            "category": "naming" if i % 2 else "counting",
            "checks": [{"kind": "contains", "value": rng.choice(THINGS)}],
        }
        for i in range(items)
    ]
    write("instructions/question.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def chat_model(folder):
    """A copy of the small model, with a chat template where it has none."""
    shutil.copytree(touchstone.folder(), folder)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    config.setdefault("chat_template", template)
    file.write_text(json.dumps(config), encoding="utf-8")
    return folder
