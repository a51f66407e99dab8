"""MMLU read with Python's csv module, and the published prompt written with string formatting."""

import csv

LETTERS = "ABCD"


def rows(folder, split, subject):
    """[question, A, B, C, D, letter] of each row."""
    with open(folder / split / f"{subject}_{split}.csv", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def subjects(folder, split="test"):
    end = f"_{split}.csv"
    return sorted(path.name.removesuffix(end) for path in (folder / split).glob(f"*{end}"))


def published_prompt(folder, subject, row, shots):
    """The prompt of hendrycks/test and of llm-kick."""
    example = "{}\nA. {}\nB. {}\nC. {}\nD. {}\nAnswer:"
    words = "".join(" " + word for word in subject.split("_"))
    text = f"The following are multiple choice questions (with answers) about {words}.\n\n"
    for *shot, letter in rows(folder, "dev", subject)[:shots]:
        text += example.format(*shot) + f" {letter}\n\n"
    return text + example.format(*row[:5])


def write_small(folder, long=False):
    """Three subjects about the world of the touchstone model, 12 questions each."""
    things = ["ball", "dog", "cat", "tree", "book", "cup", "box", "hat"]
    people = ["Tom", "Anna", "Ben", "Mia"]
    for number, subject in enumerate(["anatomy", "astronomy", "knots"]):
        for split, count in [("dev", 5), ("val", 2), ("test", 12)]:
            (folder / split).mkdir(parents=True, exist_ok=True)
            path = folder / split / f"{subject}_{split}.csv"
            with open(path, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                for i in range(count):
                    at = 5 * number + 3 * i + len(split)
                    options = [things[(at + k * k) % 8] for k in range(3)] + ["None"]
                    question = f'{people[at % 4]} has a {things[at % 8]}.\nWhat, "then", is it?'
                    if long:
                        question = question + " Tom has a cup." * (5 + 3 * i % 14)
                    writer.writerow([question, *options, LETTERS[(at * at) % 4]])
    return folder
