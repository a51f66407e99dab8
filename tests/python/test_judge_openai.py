"""An OpenAI-compatible judge against a server that is slow, fails, limits and drops connections."""

import email.utils
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cupel
import pytest
from judge_helpers import Stub, Table, judged, serving, write_jsonl

KEY = "sk-not-to-be-seen-1234567890"


@pytest.fixture
def folder(tmp_path):
    """80 answers of the built-in task "generation", recorded."""
    data = write_jsonl(
        tmp_path / "questions.jsonl", [{"id": f"q{i}", "prompt": f"say {i}."} for i in range(80)]
    )
    out = tmp_path / "run"
    cupel.evaluate(Table(), [f"generation:file={data}"], record=out / "records")
    return out


def number_in(body):
    """The number of the item that a request is about."""
    return int(body["messages"][-1]["content"].split("say ")[1].split(".")[0])


def judge_at(url, **options):
    return cupel.OpenAIJudge(url, "gpt-x", **{"backoff": 0.01, "timeout": 20.0} | options)


def test_nothing_is_lost_or_doubled_on_a_bad_line(folder, tmp_path):
    tries = Counter()

    def plan(number, body):
        item = number_in(body)
        tries[item] += 1
        if tries[item] > 1 + item % 2:
            return "ok"
        return {
            0: "ok",
            1: "drop",
            2: (500, {}, "broken"),
            3: (429, {"Retry-After": "0.05"}, "slow down"),
            4: 0.05,
            5: "half",
            6: (503, {}, ""),
            7: "nonsense",
        }[item % 8]

    stub = Stub(plan, lambda body: f"[[{1 + number_in(body) % 10}]]")
    with serving(stub) as url:
        judge = judge_at(url, concurrency=7, prices=(1.0, 10.0))
        result = judged(folder, judge, out=tmp_path / "judged")
    assert result.complete and result.asked == 80 and result.failed == 0
    for item in result.scores.items("generation"):
        assert item.values["score"] == 1 + int(item.id[1:]) % 10
    assert len(stub.answered) == 80 and set(stub.answered.values()) == {1}
    assert stub.number == judge.sent > 80
    # The stub counts 100 and 10 tokens a reply.
    assert (result.prompt_tokens, result.tokens) == (8000, 800)
    assert result.cost == pytest.approx(80 * (100 * 1.0 + 10 * 10.0) / 1e6) == judge.cost
    body = stub.bodies[0]
    assert body["model"] == "gpt-x" and body["temperature"] == 0 and body["max_tokens"] == 2048
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_retry_after_holds_every_thread_as_seconds_or_as_a_date(folder):
    for wait in ("0.6", None):
        made = []

        def plan(number, body, wait=wait, made=made):
            if number > 1:
                return "ok"
            made.append(time.monotonic())
            text = wait or email.utils.formatdate(time.time() + 2, usegmt=True)
            return 429, {"Retry-After": text}, ""

        stub = Stub(plan)
        with serving(stub) as url:
            result = judged(folder, judge_at(url, concurrency=1), limit=3)
        assert result.complete
        # A date has whole seconds.
        assert stub.times[1] - made[0] > (0.55 if wait else 0.9)


def test_requests_start_at_the_pace_that_was_asked_for(folder):
    stub = Stub()
    with serving(stub) as url:
        result = judged(folder, judge_at(url, requests_per_minute=1200, concurrency=8), limit=10)
    assert result.complete
    assert stub.times[-1] - stub.times[0] > 9 * 0.05 * 0.9


def test_requests_run_together(folder):
    stub = Stub(lambda number, body: 0.3)
    with serving(stub) as url:
        start = time.monotonic()
        judged(folder, judge_at(url, concurrency=20), limit=20)
        together = time.monotonic() - start
    assert together < 20 * 0.3 / 2


def test_a_request_that_fails_for_good_is_told_and_asked_again_next_time(folder, tmp_path):
    bad = {"on": True}

    def plan(number, body):
        return (400, {}, "too long") if bad["on"] and number_in(body) == 3 else "ok"

    stub = Stub(plan)
    out = tmp_path / "judged"
    with serving(stub) as url:
        result = judged(folder, judge_at(url), limit=8, out=out)
        assert result.failed == 1 and not result.complete and stub.number == 8  # not sent again
        assert "HTTP 400: too long" in result.failures[0] and "q3" in result.failures[0]
        bad["on"] = False
        result = judged(folder, judge_at(url), limit=8, out=out)
    assert result.complete and stub.number == 9


def test_retries_end(folder):
    stub = Stub(lambda number, body: (500, {}, "always"))
    with serving(stub) as url:
        result = judged(folder, judge_at(url, retries=2), limit=2)
    assert result.failed == 2 and stub.number == 6
    assert "HTTP 500: always (3 times)" in result.failures[0]


def test_no_credit_and_long_limits_are_not_waited_for(folder):
    for answer in (
        (429, {}, '{"error": {"code": "insufficient_quota"}}'),
        (429, {"Retry-After": "86400"}, "tomorrow"),
    ):
        stub = Stub(lambda number, body, answer=answer: answer)
        with serving(stub) as url:
            result = judged(folder, judge_at(url), limit=2)
        assert result.failed == 2 and stub.number == 2


def test_the_cost_limit_stops_and_the_next_call_goes_on(folder, tmp_path):
    stub = Stub()
    out = tmp_path / "judged"
    with serving(stub) as url:
        judge = judge_at(url, prices=(100.0, 0.0), max_cost=0.05, concurrency=1)  # 0.01 each
        with pytest.raises(cupel.judges.CostLimit, match="max_cost is 0.05"):
            judged(folder, judge, limit=12, out=out)
        assert stub.number == 5
        result = judged(folder, judge_at(url, prices=(100.0, 0.0)), limit=12, out=out)
    assert result.complete and stub.number == 12 and result.asked == 7
    assert result.cost == pytest.approx(0.12)


def test_the_key_is_sent_and_written_nowhere(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    stub = Stub(lambda number, body: (500, {}, f"bad {KEY}") if number == 1 else "ok")
    out = tmp_path / "judged"
    with serving(stub) as url:
        judge = judge_at(url, key_env="A_KEY", retries=0)
        result = judged(folder, judge, limit=4, out=out)
        assert stub.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert result.failed == 1 and "bad ***" in result.failures[0]
        judged(folder, judge, limit=4, out=out)
        for path in out.iterdir():
            assert KEY not in path.read_text(encoding="utf-8")
        assert KEY not in repr(judge) + str(judge.info().settings)
        refused = Stub(lambda number, body: (401, {}, f"wrong key {KEY}"))
        with serving(refused) as other:
            with pytest.raises(ValueError, match=r"refuses the key in \$A_KEY") as error:
                judged(folder, judge_at(other, key_env="A_KEY"))
            assert KEY not in str(error.value)
    with pytest.raises(ValueError, match="travels encrypted"):
        cupel.OpenAIJudge("http://example.org/v1", "m", key_env="A_KEY")
    cupel.OpenAIJudge("http://example.org/v1", "m", key_env=None)


def test_a_redirect_is_not_followed(folder, monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    thief = Stub()
    with serving(thief) as there:
        stub = Stub(lambda number, body: (302, {"Location": there}, "over there"))
        with serving(stub) as url:
            result = judged(folder, judge_at(url, key_env="A_KEY"), limit=1)
    assert result.failed == 1 and "HTTP 302" in result.failures[0] and thief.number == 0


@pytest.mark.parametrize(
    ("url", "options", "rule"),
    [
        ("ftp://x/v1", {}, "base_url is http"),
        ("https://me:pass@x/v1", {}, "holds no key"),
        ("https://x/v1?api-key=1", {}, "holds no key"),
        ("https://x/v1", {"max_cost": 1.0}, "needs prices"),
        ("https://x/v1", {"concurrency": 0}, "concurrency is at least 1"),
        ("https://x/v1", {"requests_per_minute": 0}, "requests_per_minute is above 0"),
    ],
)
def test_bad_options_are_refused(url, options, rule):
    with pytest.raises(ValueError, match=rule) as error:
        cupel.OpenAIJudge(url, "m", **options)
    assert "pass" not in str(error.value).replace("base_url", "")


def test_further_fields_and_a_model_of_another_name(folder):
    stub = Stub()
    with serving(stub) as url:
        judge = judge_at(url, extra={"top_p": 1, "seed": None})
        judged(folder, judge, limit=1)
    assert stub.bodies[0]["top_p"] == 1 and "seed" not in stub.bodies[0]
    assert json.loads(judge.info().settings["extra"]) == {"top_p": 1, "seed": None}


def command(folder, url, out, *more):
    return [
        sys.executable, "-m", "cupel", "judge", str(folder), "--judge", f"openai:{url},gpt-x",
        "--data", str(folder.parent / "questions.jsonl"), "--out", str(out),
        "--concurrency", "4", *more,
    ]  # fmt: skip


def test_a_killed_pass_asks_nothing_again_that_was_answered(folder, tmp_path):
    stub = Stub(lambda number, body: 0.05, lambda body: f"[[{1 + number_in(body) % 10}]]")
    out = tmp_path / "judged"
    kept = {}
    with serving(stub) as url:
        for at in (15, 40):
            process = subprocess.Popen(command(folder, url, out), stderr=subprocess.DEVNULL)
            end = time.monotonic() + 120
            while sum(stub.answered.values()) < at and time.monotonic() < end:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.3)  # what was under way ends at the stub
            kept = {
                json.loads(line)["id"]
                for line in (out / "replies.jsonl").read_text().splitlines()
                if line.startswith('{"id"')
            }
            before = dict(stub.answered)
            assert len(kept) >= at - 8
        done = subprocess.run(command(folder, url, out), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    # Only what was under way at one of the two kills was sent twice: four at a time.
    again = [prompt for prompt, count in stub.answered.items() if count > 1]
    assert len(again) <= 8 and max(stub.answered.values()) <= 3
    assert sum(stub.answered.values()) - sum(before.values()) <= 80 - len(kept)
    assert len(stub.answered) == 80
    scores = cupel.EvalResult.from_json((out / "scores.json").read_text())
    assert [i.values["score"] for i in scores.items("generation")] == [
        1 + int(i.id[1:]) % 10 for i in scores.items("generation")
    ]
    assert len((out / "judgments.jsonl").read_text().splitlines()) == 80
    assert "of them asked now" in done.stdout


def test_ctrl_c_keeps_the_replies_and_says_how_to_go_on(folder, tmp_path):
    stub = Stub(lambda number, body: 0.1)
    out = tmp_path / "judged"
    with serving(stub) as url:
        process = subprocess.Popen(
            command(folder, url, out),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background has Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        end = time.monotonic() + 120
        while sum(stub.answered.values()) < 10 and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in error, error
    assert Path(out / "replies.jsonl").exists() and not (out / "scores.json").exists()
