"""How a judge's pass goes on, what judges may do, and what is refused."""

import json
import shutil

import cupel
import pytest
from judge_helpers import Table, judged, questions, write_jsonl


def test_a_pass_goes_on_and_asks_nothing_twice(recorded, tmp_path):
    folder = recorded(questions(10, turns=2))
    asked = []

    def judge(request):
        if len(asked) == 7:
            raise RuntimeError("the line is dead")
        asked.append(request.id)
        return f"[[{1 + len(asked) % 9}]]"

    out = tmp_path / "judged"
    with pytest.raises(RuntimeError, match="the line is dead"):
        judged(folder, judge, out=out)
    assert not (out / "scores.json").exists()

    def judge_again(request):
        asked.append(request.id)
        return f"[[{1 + len(asked) % 9}]]"

    judge_again.__qualname__ = judge.__qualname__
    result = judged(folder, judge_again, out=out)
    assert len(asked) == len(set(asked)) == 20 and result.asked == 13
    whole = (out / "scores.json").read_bytes()
    result = judged(folder, judge_again, out=out)  # everything is there
    assert result.asked == 0 and len(asked) == 20
    assert (out / "scores.json").read_bytes() == whole
    # Another parser costs nothing.
    result = judged(folder, judge_again, out=out, parser="fastchat")
    assert result.asked == 0 and len(result.judgments) == 20
    with pytest.raises(ValueError, match="replies of one judge stand in one file"):
        judged(folder, lambda request: "[[1]]", out=out)
    lines = (out / "judgments.jsonl").read_text().splitlines()
    assert len(lines) == 20 and json.loads(lines[0])["grades"]


def test_equal_questions_are_asked_once_and_count_each(recorded):
    entries = questions(4)
    for entry in entries:
        entry["turns"] = ["the same?"]
    folder = recorded(entries, {f"{i}|1": "the same" for i in range(4)})
    calls = []

    def judge(request):
        calls.append(request)
        return "[[6]]"

    result = judged(folder, judge)
    assert len(calls) == result.requests == 1
    assert result.scores.metrics["dialogues"]["single"]["items"] == 4
    assert len(result.judgments) == 4


class Odd(cupel.Judge):
    info = cupel.JudgeInfo("odd")

    def __init__(self, give):
        super().__init__()
        self.give = give

    def reply(self, requests):
        return self.give(requests)


def test_a_judge_of_ones_own_answers_in_any_order_each_once(recorded):
    folder = recorded(questions(3))

    def backwards(requests):
        for i in reversed(range(len(requests))):
            yield None
            yield i, f"[[{1 + int(requests[i].item_id)}]]"

    scores = judged(folder, Odd(backwards)).scores
    assert [item.values["score"] for item in scores.items("dialogues")] == [1, 2, 3]
    with pytest.raises(ValueError, match="answers each request once"):
        judged(folder, Odd(lambda requests: [(0, "[[1]]"), (0, "[[2]]")]))
    with pytest.raises(ValueError, match="answers each request once"):
        judged(folder, Odd(lambda requests: ["[[1]]"] * 4))
    short = judged(folder, Odd(lambda requests: ["[[1]]"]))
    assert short.pending == 2 and not short.complete
    with pytest.raises(ValueError, match="2 pending and 0 failed of 3"):
        _ = short.scores
    with pytest.raises(TypeError, match="a reply is a str or a JudgeReply"):
        judged(folder, Odd(lambda requests: [1.5]))


def test_failed_requests_stop_the_scores_or_are_counted(recorded):
    folder = recorded(questions(3))

    def judge(request):
        return cupel.JudgeReply(error="no") if request.item_id == "1" else "[[5]]"

    result = judged(folder, judge)
    assert result.failed == 1 and not result.complete
    assert result.failures == ["dialogues, item '1', turn 1: no"]
    metrics = judged(folder, judge, on_error="count").scores.metrics["dialogues"]["single"]
    assert metrics["score"] == 5 and metrics["replies_failed"] == metrics["replies_unparsed"] == 1
    assert metrics["score_low"] == pytest.approx(11 / 3) and metrics["flag_no_reply"] == 1


def test_a_model_of_ones_own_is_a_judge(recorded):
    folder = recorded(questions(3))

    class Grader(Table):
        def generate(self, requests):
            assert all(r.max_new_tokens == 9 and r.temperature == 0.5 for r in requests)
            sizes.append(len(requests))
            return [cupel.Generation("[[8]]", 3, "length") for _ in requests]

    sizes = []
    prompts = []

    def chat(messages):
        prompts.append([message["role"] for message in messages])
        return "|".join(message["content"] for message in messages)

    judge = cupel.LocalJudge(Grader(fingerprint="judge"), chat, name="mine", stop=["#"], batch=2)
    settings = judge.info().settings
    assert judge.info().model == "judge" and settings["template"] == "mine"
    assert settings["stop"] == '["#"]'
    result = judged(folder, judge, max_tokens=9, temperature=0.5)
    assert sizes == [2, 1] and result.tokens == 9
    assert result.scores.metrics["dialogues"]["single"]["flag_reply_cut"] == 3
    assert prompts == [["system", "user"]] * 3
    named = cupel.LocalJudge(Grader(fingerprint="judge"), "vicuna_v1.1").info().settings
    assert named["template"] == "vicuna_v1.1" and named["stop"] == '["</s>"]'
    with pytest.raises(ValueError, match="chat template"):
        cupel.LocalJudge(Grader(), "nobody's")


def test_records_that_cannot_be_judged_are_refused_in_words(recorded, tmp_path):
    folder = recorded(questions(4))

    def grade(request):
        return "[[1]]"

    with pytest.raises(ValueError, match="say where they are"):
        cupel.judge(folder, grade)
    data = tmp_path / "questions.jsonl"
    was = data.read_text()
    data.write_text(was.replace("question 0.1", "question 9.9"))
    with pytest.raises(ValueError, match="are those of its record, SHA-256"):
        judged(folder, grade)
    data.write_text(was)
    assert cupel.judge(folder, grade, data=tmp_path).complete  # the folder that holds it
    record = folder / "records" / "dialogues.jsonl"
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(record, half / "dialogues.jsonl")
    lines = record.read_text().splitlines(keepends=True)
    (half / "dialogues.jsonl").write_text("".join(lines[:3]))
    with pytest.raises(ValueError, match=r"once it is whole\. Got 0 of 4 items"):
        cupel.judge(half, grade, data=data)
    for options, rule in (
        ({"mode": "both"}, "mode is single, pairwise or axes"),
        ({"mode": "pairwise"}, "pairwise needs the other"),
        ({"against": folder}, "against is for pairwise"),
        ({"repeats": 0}, "repeats is at least 1"),
        ({"parser": "none"}, "unknown judge parser"),
        ({"parser": "two_scores"}, "reads grades of 2 answers"),
        ({"tasks": ["mmlu"]}, "there is a record of texts"),
    ):
        with pytest.raises(ValueError, match=rule):
            judged(folder, grade, **options)
    with pytest.raises(TypeError, match="a judge is a"):
        judged(folder, "gpt-4")


def test_duplicates_in_files_are_errors_with_their_line(recorded, tmp_path):
    folder = recorded(questions(2))
    twice = write_jsonl(tmp_path / "o.jsonl", [{"id": "0", "text": "o"}, {"id": "0", "text": "p"}])
    with pytest.raises(cupel.FormatError, match=r"o\.jsonl.*line 2.*a second time"):
        judged(folder, lambda r: "[[A]]", mode="pairwise", against=twice)
    missing = write_jsonl(tmp_path / "m.jsonl", [{"id": "0", "text": "o"}])
    with pytest.raises(ValueError, match="no such answer"):
        judged(folder, lambda r: "[[A]]", mode="pairwise", against=missing)


def test_a_queue_is_written_answered_and_read(recorded, tmp_path):
    folder, queue = recorded(questions(3)), tmp_path / "queue"
    judge = cupel.QueueJudge(queue)
    result = judged(folder, judge, out=tmp_path / "judged")
    assert result.pending == 3 and not result.complete
    assert json.loads((tmp_path / "judged" / "judge.json").read_text())["pending"] == 3
    asked = [json.loads(line) for line in (queue / "requests.jsonl").read_text().splitlines()]
    assert [entry["item"] for entry in asked] == ["0", "1", "2"] and "prompt" in asked[0]
    replies = [{"id": e["id"], "text": f"[[{4 + i}]]"} for i, e in enumerate(asked)]
    write_jsonl(queue / "replies.jsonl", replies[2:] + replies[:1])
    result = judged(folder, judge)
    assert (result.pending, result.complete) == (1, False)
    write_jsonl(queue / "replies.jsonl", replies[::-1])
    result = judged(folder, judge)
    assert [i.values["score"] for i in result.scores.items("dialogues")] == [4, 5, 6]
    write_jsonl(queue / "replies.jsonl", [*replies, replies[0]])
    with pytest.raises(cupel.FormatError, match=r"line 4.*second reply"):
        judged(folder, judge)
    write_jsonl(queue / "replies.jsonl", [replies[0], {"id": "f00", "text": "x"}])
    with pytest.raises(cupel.FormatError, match=r"line 2.*no request"):
        judged(folder, judge)
    for bad in ("{", '["x"]', '{"id": "x"}', '{"id": "x", "text": 1}'):
        (queue / "replies.jsonl").write_text("\n" + bad + "\n")
        with pytest.raises(cupel.FormatError, match="line 2"):
            judged(folder, judge)
    with pytest.raises(ValueError, match="a folder is for one pass"):
        judged(folder, judge, seed=1)
