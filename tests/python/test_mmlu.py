"""MMLU: files, prompts and scores against Python's csv module, published hashes, and lm-eval."""

import collections
import hashlib
import json
import math
from pathlib import Path

import cupel
import pytest
from cupel import touchstone
from mmlu_data import LETTERS, published_prompt, rows, subjects, write_small


@pytest.fixture(scope="module")
def mmlu(shared_path):
    return shared_path("data/mmlu")


def loaded(folder, **options):
    task = cupel.make_task("mmlu")
    return task, task.load(folder, {name: str(value) for name, value in options.items()})


def prompts(folder, protocol="paper", **options):
    """Item id -> the context of its first request."""
    task, items = loaded(folder, **options)
    return {item.id: task.requests(item, protocol)[0].context for item in items}


def test_prompts_have_the_published_hashes(mmlu, shared_path):
    golden = json.loads(shared_path("golden/golden_mmlu_prompts.json").read_text())["prompts"]
    assert len(golden) == 342
    for shots in (0, 1, 5):
        made = prompts(mmlu, shots=shots)
        for known in golden:
            if known["k"] != shots:
                continue
            text = made[f"{known['subject']}/{known['idx']}"]
            assert len(text) == known["chars"]
            assert hashlib.sha256(text.encode()).hexdigest() == known["sha256"], known


def test_every_cell_is_what_the_csv_module_reads(mmlu):
    for split, count in [("dev", 285), ("val", 1531), ("test", 14042)]:
        _, items = loaded(mmlu, split=split, shots=0)
        assert len(items) == count
        ours = collections.defaultdict(list)
        for item in items:
            ours[item.category].append([item.question, *item.choices, item.answer])
        assert sorted(ours) == subjects(mmlu, split)
        for subject in ours:
            assert ours[subject] == rows(mmlu, split, subject)


def test_every_prompt_is_the_published_one(mmlu):
    made = prompts(mmlu, shots=3, split="val")
    assert len(made) == 1531
    for subject in subjects(mmlu, "val"):
        for number, row in enumerate(rows(mmlu, "val", subject)):
            assert made[f"{subject}/{number}"] == published_prompt(mmlu, subject, row, 3)


COUNTS = {
    "subcategory:math": 1064, "subcategory:health": 1640, "subcategory:physics": 640,
    "subcategory:business": 437, "subcategory:biology": 454, "subcategory:chemistry": 303,
    "subcategory:computer science": 412, "subcategory:economics": 742,
    "subcategory:engineering": 145, "subcategory:philosophy": 2012, "subcategory:other": 1165,
    "subcategory:history": 930, "subcategory:geography": 198, "subcategory:politics": 648,
    "subcategory:psychology": 1157, "subcategory:culture": 332, "subcategory:law": 1763,
    "category:humanities": 4705, "category:other": 3242, "category:social sciences": 3077,
    "category:STEM": 3018,
}  # fmt: skip


def test_counts_of_the_test_split(mmlu):
    task, items = loaded(mmlu, shots=0)
    assert collections.Counter(item.answer for item in items) == {
        "A": 3222, "B": 3462, "C": 3582, "D": 3776,
    }  # fmt: skip
    assert sum("\n" in item.question for item in items) == 1127
    assert sum(item.choices.count("None") for item in items) == 10
    assert sum(c != c.strip() for item in items for c in item.choices) == 133
    metrics = task.aggregate([guess(item) for item in items])
    groups = {name[6:]: value for name, value in metrics.items() if name.startswith("items/")}
    assert {name: n for name, n in groups.items() if ":" in name} == COUNTS
    assert len(groups) == 57 + 17 + 4
    assert metrics["constant_answer_accuracy"] == 3776 / 14042
    assert "flag_unknown_subject" not in metrics


def guess(item):
    """A score by a rule that is as good as any."""
    letter = LETTERS[sum(map(ord, item.question)) % 4]
    flags = ["invalid"] if len(item.question) % 3 == 0 else []
    right = float(letter == item.answer)
    return cupel.ItemScore({"accuracy": right}, letter, item.answer, flags, item.id, item.category)


def test_metrics_are_those_of_a_plain_count(mmlu):
    pandas = pytest.importorskip("pandas")
    task, items = loaded(mmlu, shots=0)
    scores = [guess(item) for item in items]
    metrics = task.aggregate(scores)
    frame = pandas.DataFrame(
        {
            "subject": [score.category for score in scores],
            "right": [score.values["accuracy"] for score in scores],
            "invalid": ["invalid" in score.flags for score in scores],
        }
    )
    by_subject = frame.groupby("subject").right.mean()
    for subject, value in by_subject.items():
        assert metrics[f"accuracy/{subject}"] == pytest.approx(value, rel=1e-12)
    assert metrics["accuracy"] == pytest.approx(frame.right.mean(), rel=1e-12)
    assert metrics["accuracy_macro"] == pytest.approx(by_subject.mean(), rel=1e-12)
    assert metrics["accuracy_macro"] != pytest.approx(metrics["accuracy"], rel=1e-6)
    assert metrics["invalid_rate"] == pytest.approx(frame.invalid.mean(), rel=1e-12)
    law = frame[frame.subject.str.contains("law|jurisprudence")]
    assert len(law) == 1763
    assert metrics["accuracy/subcategory:law"] == pytest.approx(law.right.mean(), rel=1e-12)


def harness_task(folder, subject, shots):
    """lm-eval's own task of a subject, over the files of `folder`."""
    datasets = pytest.importorskip("datasets")
    yaml = pytest.importorskip("yaml")
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.task import ConfigurableTask

    def documents(split):
        return datasets.Dataset.from_list(
            [
                {"question": row[0], "choices": row[1:5], "answer": LETTERS.index(row[5])}
                for row in rows(folder, split, subject)
            ]
        )

    configs = Path(lm_eval.__file__).parent / "tasks/mmlu/default"
    config = yaml.safe_load((configs / f"mmlu_{subject}.yaml").read_text())
    config = yaml.safe_load((configs / config.pop("include")).read_text()) | config
    config["custom_dataset"] = lambda **_: {s: documents(s) for s in ("dev", "test")}
    config["num_fewshot"] = shots
    return ConfigurableTask(config=config)


# Questions with white space at either end are among the first ones of each.
@pytest.mark.parametrize("subject", ["moral_disputes", "professional_law", "college_medicine"])
@pytest.mark.parametrize("shots", [0, 5])
def test_form_harness_is_lm_evals(mmlu, subject, shots):
    theirs = harness_task(mmlu, subject, shots)
    theirs.build_all_requests(limit=40)
    task, items = loaded(mmlu, subjects=subject, shots=shots, form="harness", per_subject=40)
    ours = [(r.context, r.continuation) for item in items for r in task.requests(item, "strict")]
    assert ours == [instance.args for instance in theirs.instances]
    assert len(ours) == 160


def test_categories_are_lm_evals(mmlu):
    yaml = pytest.importorskip("yaml")
    lm_eval = pytest.importorskip("lm_eval")
    configs = Path(lm_eval.__file__).parent / "tasks/mmlu/default"
    tags = {
        "mmlu_stem_tasks": "STEM",
        "mmlu_humanities_tasks": "humanities",
        "mmlu_social_sciences_tasks": "social sciences",
        "mmlu_other_tasks": "other",
    }
    task, items = loaded(mmlu, shots=0, per_subject=1)
    assert len(items) == 57
    for item in items:
        if item.category == "anatomy":  # STEM there, health here as in the published counts
            continue
        tag = yaml.safe_load((configs / f"mmlu_{item.category}.yaml").read_text())["tag"]
        groups = [name for name in task.aggregate([guess(item)]) if "items/category:" in name]
        assert groups == ["items/category:" + tags[tag]]


def test_bad_files_are_named(tmp_path):
    folder = write_small(tmp_path)
    path = folder / "test" / "knots_test.csv"
    good = path.read_bytes()
    for bad, line, rule in [
        (b"q,1,2,3,A\n", 25, "6 fields. Got 5"),
        (b"q,1,2,3,4,E\n", 25, "Got 'E'"),
        (b'q,1,2,3,"4,A\n', 25, "ends in a quote"),
        (b"q,1,2,3,\xff,A\n", 25, "not valid UTF-8"),
    ]:
        path.write_bytes(good + bad)
        with pytest.raises(cupel.FormatError, match=rule) as error:
            loaded(folder)
        assert f"knots_test.csv: line {line}:" in str(error.value)
    path.write_bytes(b"\xef\xbb\xbf" + good.replace(b"\r\n", b"\n").rstrip())
    _, items = loaded(folder, subjects="knots")
    path.write_bytes(good)
    assert [(i.question, i.choices, i.answer) for i in items] == [
        (row[0], row[1:5], row[5]) for row in rows(folder, "test", "knots")
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("mmlu"))


@pytest.fixture(scope="module")
def scorer():
    return cupel.ModelScorer(
        cupel.load_model(touchstone.folder()), cupel.load_tokenizer(touchstone.folder())
    )


def test_scores_of_a_model(small, scorer):
    result = cupel.evaluate(scorer, [f"mmlu:file={small},shots=1,full_text=1"])
    strict, paper = result.items("mmlu", "strict"), result.items("mmlu", "paper")
    assert [item.id for item in strict][:13:12] == ["anatomy/0", "astronomy/0"]
    checked = collections.Counter()
    for a, b in zip(strict, paper, strict=True):
        subject, number = a.id.split("/")
        row = rows(small, "test", subject)[int(number)]
        text = published_prompt(small, subject, row, 1)
        assert a.gold == b.gold == row[5]
        letters = scorer.log_likelihood([(text, " " + letter) for letter in LETTERS])
        values = [answer.value for answer in letters]
        assert a.prediction == LETTERS[values.index(max(values))]
        assert a.values["letter_mass"] == pytest.approx(sum(map(math.exp, values)), rel=1e-3)
        assert 0 < a.values["letter_mass"] <= 1
        texts = scorer.log_likelihood([(text, " " + option) for option in row[1:5]])
        values = [answer.value for answer in texts]
        norm = [value / len(option) for value, option in zip(values, row[1:5], strict=True)]
        for name, numbers in [("text_accuracy", values), ("text_acc_norm", norm)]:
            best = numbers.index(max(numbers))
            assert a.values[name] == float(LETTERS[best] == row[5])
        made = scorer.generate([text], max_new_tokens=1)[0].text
        assert b.prediction == (text + made)[-1]
        assert b.values["accuracy"] == float(b.prediction == row[5])
        assert ("invalid" in b.flags) == (b.prediction not in "ABCD")
        checked[b.prediction] += 1
    assert sum(checked.values()) == 36
    metrics = result.metrics["mmlu"]
    assert metrics["strict"]["items/category:STEM"] == 12
    assert metrics["strict"]["flag_unknown_subject"] == 12
    right = sum(item.values["accuracy"] for item in strict)
    assert metrics["strict"]["accuracy"] == pytest.approx(right / 36, rel=1e-12)


def test_paper_costs_no_run_of_its_own(small, scorer):
    def tokens(protocols):
        before = scorer.counts
        cupel.evaluate(scorer, [f"mmlu:file={small},shots=1,protocols={protocols}"])
        after = scorer.counts
        return after.run - before.run

    assert tokens("strict+paper") == tokens("strict")


def test_shots_are_dropped_at_the_models_limit(tmp_path, scorer):
    measure = scorer.measure()
    small = write_small(tmp_path, long=True)
    result = cupel.evaluate(scorer, [f"mmlu:file={small}"])
    assert result.metrics["mmlu"]["paper"]["flag_shots_dropped"] == 36
    left = set()
    dropped = 0
    for item in result.items("mmlu", "paper"):
        subject, number = item.id.split("/")
        row = rows(small, "test", subject)[int(number)]
        counts = [measure.count(published_prompt(small, subject, row, k) + " A") for k in range(6)]
        most = max(k for k in range(6) if counts[k] <= measure.limit)
        assert f"shots_{most}" in item.flags
        left.add(most)
        dropped += 5 - most
    assert len(left) > 1
    shots = result.metrics["mmlu"]["paper"]["shots"]
    assert shots == pytest.approx(5 - dropped / 36, rel=1e-12)


def test_a_scorer_that_cannot_count_gets_whole_prompts(small):
    class Uniform(cupel.Scorer):
        def info(self):
            model = cupel.TokenModelInfo(vocabulary=10, max_length=8, fingerprint="f")
            return cupel.ScorerInfo(model, "none", {})

        def log_likelihood(self, requests):
            self.contexts = {context for context, _ in requests} | getattr(self, "contexts", set())
            return [cupel.LogLikelihood(-2.0, False, 1, greedy_text=" C") for _ in requests]

    scorer = Uniform()
    result = cupel.evaluate(scorer, [f"mmlu:file={small}"])
    expected = {
        published_prompt(small, subject, row, 5)
        for subject in subjects(small)
        for row in rows(small, "test", subject)
    }
    assert scorer.contexts == expected
    metrics = result.metrics["mmlu"]
    golds = [row[5] for subject in subjects(small) for row in rows(small, "test", subject)]
    assert metrics["paper"]["accuracy"] == pytest.approx(golds.count("C") / 36)
    assert metrics["strict"]["accuracy"] == pytest.approx(golds.count("A") / 36)
    assert metrics["paper"]["invalid_rate"] == 0
    assert metrics["strict"]["invalid_rate"] == 1
    assert metrics["strict"]["shots"] == 5
