"""Replies of judges, in every shape that is known, and what is read from them."""

import re
from collections import defaultdict

import cupel
import pytest
from judge_helpers import Dialogues, Table

AXES = '{"coherence": 7, "consistency": 8.5, "fluency": 9, "relevance": 6}'


@pytest.mark.parametrize(
    ("parser", "reply", "grades"),
    [
        # the last grade, in range
        ("grade", "Good. [[7]]", [7]),
        ("grade", "An example is [[5]].\nIt is better than that.\n[[ 8.5 ]]", [8.5]),
        ("grade", "[[7]] is what it asks me to say; no. [[2]]", [2]),
        ("grade", "[[9]] [[rating]]", [9]),
        ("grade", "[[9]] then arr[[0, 1]]", [9]),
        ("grade", "[[[4]]", [4]),
        ("grade", "[[11]]", None),
        ("grade", "[[5]] but really [[0]]", None),  # an earlier grade is not taken instead
        ("grade", "[[-3]]", None),
        ("grade", "Rating: [7]", None),
        ("grade", "Rating: 7/10", None),
        ("grade", "", None),
        ("grade", "[[1e1]]", None),
        # the last verdict
        ("choice", "[[A]] would be wrong. [[B]]", [0, 1]),
        ("choice", "so [[A]]", [1, 0]),
        ("choice", "[[C]]", [0.5, 0.5]),
        ("choice", "[[D]] A is better", None),
        # objects
        ("axes", f"Reasons {{sic}}.\n{AXES}", [7, 8.5, 9, 6]),
        ("axes", f"{AXES}\n" + AXES.replace("7", "2"), [2, 8.5, 9, 6]),
        ("axes", AXES.replace("7", "70"), None),
        ("axes", AXES.replace("7", '"7"'), None),
        ("axes", '{"coherence": 7}', None),
        ("json", 'I say {"score": 3}', [3]),
        ("json", '{"score": 3, "score": 9}', None),
        # FastChat: the first, no range
        ("fastchat", "An example is [[5]]. Rating: [[8]]", [5]),
        ("fastchat", "The code uses arr[0]. 8 of 10", [0]),
        ("fastchat", "Rating: [8.]", [8]),
        ("fastchat", "Rating: [[ 8 ]]", None),
        ("fastchat", "Rating: [[10/10]]", None),
        ("fastchat", "Rating: [[12]]", [12]),
        ("fastchat_choice", "[[B]] no: [[A]]", [1, 0]),
        ("fastchat_choice", "[[C]] or [[B]]", [0, 1]),
        ("fastchat_choice", "[[tie]]", None),
        ("fastchat_scores", "x [[8,9.5]]", [8, 9.5]),
        ("fastchat_scores", "x [8, 9]", [8, 9]),
        ("fastchat_scores", "x [[8,  9]]", None),
        ("fastchat_scores", "x [[8]]", None),
        # two scores
        ("two_scores", "8 9\nBoth are fine.", [8, 9]),
        ("two_scores", "8.5,9\nBoth", [8.5, 9]),
        ("two_scores", "8, 9\r\nBoth", [8, 9]),
        ("two_scores", "8 9 7\n", None),
        ("two_scores", "Assistant 1: 8 Assistant 2: 9", None),
        ("two_scores", "8.5/10 for Assistant 1, 9/10 for Assistant 2.", None),
        ("two_scores", "First I solve it.\n(10, 10)", None),
        ("two_scores", "\n8 9", None),
        ("two_scores", "nan inf", None),
        ("two_scores", "", None),
        ("two_scores_recovered", "8 9\nBoth (1, 2)", [8, 9]),
        ("two_scores_recovered", "8.5/10 for Assistant 1, 9/10 for Assistant 2.", [8.5, 9]),
        ("two_scores_recovered", "The point (3, 4) is right.\nSo (10, 9)", [10, 9]),
        ("two_scores_recovered", "So (10, 9), the point being (0, -2) or (3, 14)", [10, 9]),
        ("two_scores_recovered", "No tuple, 8/10", None),
        ("two_scores_recovered", "15 9", None),
        # four lines
        ("four_lines", "8 7\n9 8\n10 9\n7 6.5\nWords", [8, 7, 9, 8, 10, 9, 7, 6.5]),
        ("four_lines", "8 7\n9 8\n10 9", None),
        ("four_lines", "Coherence: 8 7\n9 8\n10 9\n7 6", None),
        ("four_lines", "8 7\n\n9 8\n10 9\n7 6", None),
    ],
)
def test_a_reply_has_these_grades(parser, reply, grades):
    read = cupel.read_grades(parser, reply)
    assert read.values == (grades or [])
    assert bool(read.unparsed) == (grades is None)


def test_flags_say_what_a_parser_did():
    assert cupel.read_grades("fastchat", "[[12]]").flags == ["out_of_range"]
    assert cupel.read_grades("two_scores", "15 9").flags == ["out_of_range"]
    assert cupel.read_grades("two_scores_recovered", "x (3, 4)").flags == ["recovered"]
    assert cupel.read_grades("two_scores_recovered", "3 4").flags == []


@pytest.mark.parametrize("parser", cupel.judge_parsers())
@pytest.mark.parametrize("reply", ["[" * 100_000, "{" * 50_000, "(1," * 50_000, "9" * 100_000])
def test_a_hostile_reply_is_unparsed_at_once(parser, reply):
    assert cupel.read_grades(parser, reply).unparsed


def test_parsers_agree_with_python_expressions_on_made_up_replies():
    import random

    draw = random.Random(0)
    parts = ["[[", "]]", "[", "]", "7", "10", "8.5", "3.", ",", " ", "A", "B", "\n", "x", "[[C]]"]

    def first(text, *patterns):
        for pattern in patterns:
            found = re.search(pattern, text)
            if found:
                return [float(value) for value in found.groups()]
        return []

    for _ in range(20000):
        text = "".join(draw.choices(parts, k=draw.randint(1, 12)))
        one, two = r"(\d+\.?\d*)", r"(\d+\.?\d*),\s?(\d+\.?\d*)"
        assert cupel.read_grades("fastchat", text).values == first(
            text, rf"\[\[{one}\]\]", rf"\[{one}\]"
        ), text
        assert cupel.read_grades("fastchat_scores", text).values == first(
            text, rf"\[\[{two}\]\]", rf"\[{two}\]"
        ), text
        last = re.findall(r"\[\[([ABC])\]\]", text)
        choice = cupel.read_grades("choice", text).values
        assert choice == ({"A": [1, 0], "B": [0, 1], "C": [0.5, 0.5]}[last[-1]] if last else [])


def test_a_parser_of_ones_own():
    cupel.add_judge_parser(
        "stars", lambda reply: reply.count("*") or None, lowest=0, highest=5, description="stars"
    )
    try:
        assert cupel.read_grades("stars", "***").values == [3]
        assert cupel.read_grades("stars", "none").unparsed == "no grade"
        assert cupel.judge_parsers()["stars"] == "stars"
        with pytest.raises(ValueError, match="unique"):
            cupel.add_judge_parser("stars", len)
    finally:
        cupel.remove_judge_parser("stars")
    cupel.add_judge_parser("wrong", lambda reply: [1, 2])
    try:
        with pytest.raises(ValueError, match="a parser returns 1 grades"):
            cupel.read_grades("wrong", "x")
    finally:
        cupel.remove_judge_parser("wrong")
    with pytest.raises(ValueError, match="unknown judge parser 'stars'"):
        cupel.read_grades("stars", "***")


def stored_judgments(shared_path):
    import json

    path = shared_path("data/mt_bench/model_judgment/gpt-4_single.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_published_judgments_are_graded_and_prompted_as_published(shared_path, tmp_path):
    """Through the whole path: the answers of the published judgments' prompts are recorded, judged
    with FastChat's templates and the published replies, and compared with the published scores."""
    stored = stored_judgments(shared_path)
    folder = shared_path("data/mt_bench")
    cupel.task("dialogues")(Dialogues)
    try:
        for model in sorted({entry["model"] for entry in stored}):
            rows = {(e["question_id"], e["turn"]): e for e in stored if e["model"] == model}
            assert len(rows) == 160
            replies = {entry["user_prompt"]: entry["judgment"] for entry in rows.values()}
            record = tmp_path / model
            cupel.evaluate(
                Table(answers_of(rows)),
                [f"dialogues:file={folder / 'question.jsonl'}"],
                record=record,
            )
            # A prompt that is not byte for byte the published one is a KeyError.
            result = cupel.judge(
                record,
                lambda request: replies[request.prompt],  # noqa: B023
                data=folder / "question.jsonl",
                templates=folder / "judge_prompts.jsonl",
                references=folder / "reference_answer" / "gpt-4.jsonl",
            )
            assert result.unparsed == sum(entry["score"] == -1 for entry in rows.values())
            metrics = result.scores.metrics["dialogues"]["single"]
            graded = defaultdict(list)
            for (_, turn), entry in rows.items():
                if entry["score"] != -1:
                    graded[f"turn{turn}"].append(entry["score"])
            for turn in ("turn1", "turn2"):
                mean = sum(graded[turn]) / len(graded[turn])
                assert metrics[f"score_{turn}"] == pytest.approx(mean, abs=1e-12)
            by_category = defaultdict(list)
            for item in result.scores.items("dialogues"):
                both = [rows[int(item.id), turn]["score"] for turn in (1, 2)]
                if -1 in both:
                    assert "score" not in item.values
                    assert "unparsed" in item.flags
                    continue
                assert item.values["score"] == sum(both) / 2
                by_category[item.category].append(sum(both) / 2)
            for category, scores in by_category.items():
                mean = sum(scores) / len(scores)
                assert metrics[f"score/{category}"] == pytest.approx(mean, abs=1e-12)
    finally:
        cupel.remove_task("dialogues")


def answers_of(rows):
    """ "ID|TURN" -> the answer that a published prompt shows."""
    answers = {}
    for (question, turn), entry in rows.items():
        prompt = entry["user_prompt"]
        if turn == 1:
            begin, end = "[The Start of Assistant's Answer]\n", "\n[The End of Assistant's Answer]"
            answers[f"{question}|1"] = prompt.split(begin, 1)[1].removesuffix(end)
        else:
            end = "\n\n<|The End of Assistant A's Conversation with User|>"
            answers[f"{question}|2"] = prompt.removesuffix(end).rsplit("### Assistant A:\n", 1)[1]
    return answers
