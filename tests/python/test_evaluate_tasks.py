"""Tasks from Python: one's own, the built-in ones, their results as tables and comparisons."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import cupel
import pytest
from cupel import touchstone


@pytest.fixture(scope="module")
def model():
    return cupel.load_model(touchstone.folder())


@pytest.fixture(scope="module")
def tokenizer():
    return cupel.load_tokenizer(touchstone.folder())


def questions(count=24):
    draw = random.Random(0)
    things = ["ball", "dog", "cat", "tree", "book", "cup", "box"]
    return [
        {
            "id": f"q{i}",
            "category": draw.choice(["home", "away"]),
            "context": f"{draw.choice(['Tom', 'Anna', 'Ben'])} has a",
            "choices": draw.sample(things, 4),
            "answer": draw.randrange(4),
        }
        for i in range(count)
    ]


@pytest.fixture
def quiz(tmp_path):
    path = tmp_path / "quiz.jsonl"
    path.write_text("\n".join(map(json.dumps, questions())))
    return path


@pytest.fixture
def registered():
    """Registers a task class for one test."""
    names = []

    def register(kind, name="capitals"):
        names.append(name)
        return cupel.task(name)(kind)

    yield register
    for name in names:
        cupel.remove_task(name)


class Capitals(cupel.Task):
    """Dict items, two protocols, a second round where the first answer was the right one."""

    info = cupel.TaskInfo(
        "capitals",
        version="3",
        protocols=["short", "long"],
        options={"greeting": ("Hello. ", "begins each question"), "shots": "0"},
        data="capitals.json",
    )

    def load(self, path, options):
        self.greeting = options["greeting"]
        return json.loads(Path(path).read_text())

    def requests(self, item, protocol, outputs):
        pairs = [(self.greeting + item["question"], " " + a) for a in item["answers"]]
        if not outputs:
            return pairs
        if protocol == "long" and len(outputs) == len(pairs):
            return [cupel.GenerationRequest(item["question"], max_new_tokens=4, temperature=1.0)]
        return None

    def score(self, item, protocol, outputs):
        count = len(item["answers"])
        assert len(outputs) == count + (protocol == "long")
        best = max(range(count), key=lambda i: outputs[i].likelihood.value)
        if protocol == "short":
            return {"accuracy": float(best == 0)}
        return cupel.ItemScore(
            {"accuracy": float(best == 0), "tokens": outputs[-1].generation.tokens},
            prediction=outputs[-1].generation.text,
            gold=item["answers"][0],
            flags=["seen"],
        )


@pytest.fixture
def capitals(tmp_path):
    path = tmp_path / "capitals.json"
    items = [
        {
            "id": name,
            "category": "all",
            "question": f"{name} is in",
            "answers": ["a box", "the cup"],
        }
        for name in ("Tom", "Anna", "Ben")
    ]
    path.write_text(json.dumps(items))
    return path


class Fitting(Capitals):
    """Cuts its questions to a number of tokens."""

    def set_measure(self, measure):
        self.measure = measure

    def requests(self, item, protocol, outputs):
        if outputs:
            return None
        return [(self.measure.tail(item["question"], 3), " " + a) for a in item["answers"]]


def test_a_task_can_measure_its_prompts(model, tokenizer, capitals, registered):
    made = []

    class Kept(Fitting):
        def set_measure(self, measure):
            super().set_measure(measure)
            made.append(measure)

        def requests(self, item, protocol, outputs):
            asked = super().requests(item, protocol, outputs)
            assert all(self.measure.count(context) <= 3 for context, _ in asked or [])
            return asked

    registered(Kept)
    cupel.evaluate(model, tokenizer, [f"capitals:file={capitals},protocols=short"])
    assert made[0].limit == model.config.max_positions
    with pytest.raises(ValueError, match="is gone"):
        made[0].count("a")


class Letters(cupel.Scorer):
    """A scorer in Python: the shorter a continuation, the likelier; counts what it is asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def info(self):
        model = cupel.TokenModelInfo(vocabulary=26, max_length=100, fingerprint="letters")
        return cupel.ScorerInfo(model, "letters", {"kind": "fake"})

    def log_likelihood(self, requests):
        self.asked += requests
        return [cupel.LogLikelihood(-float(len(text)), True, len(text)) for _, text in requests]

    def rolling_log_likelihood(self, texts):
        return [cupel.LogLikelihood(-float(len(text))) for text in texts]

    def generate(self, prompts, **_):
        return [cupel.Generation(f"seed {p.seed}", 2, "length") for p in prompts]


def test_multiple_choice_agrees_with_the_scorer(model, tokenizer, quiz):
    result = cupel.evaluate(model, tokenizer, [f"multiple_choice:file={quiz}"])
    scorer = cupel.ModelScorer(model, tokenizer)
    items = result.items("multiple_choice")
    assert [item.id for item in items] == [f"q{i}" for i in range(24)]
    right = 0
    for item, question in zip(items, questions(), strict=True):
        pairs = [(question["context"], " " + choice) for choice in question["choices"]]
        values = [answer.value for answer in scorer.log_likelihood(pairs)]
        best = max(range(4), key=values.__getitem__)
        assert item.prediction == question["choices"][best]
        assert item.gold == question["choices"][question["answer"]]
        assert item.category == question["category"]
        right += best == question["answer"]
    metrics = result.metrics["multiple_choice"]["strict"]
    assert metrics["accuracy"] == right / 24
    assert metrics["items"] == 24
    assert metrics["items/home"] + metrics["items/away"] == 24


def test_a_task_of_ones_own(registered, capitals):
    registered(Capitals)
    scorer = Letters()
    result = cupel.evaluate(scorer, [f"capitals:file={capitals},greeting=Hi. "], seed=5)
    assert result.metrics["capitals"]["short"] == {
        "accuracy": 1.0, "accuracy/all": 1.0, "items": 3.0, "items/all": 3.0,
    }  # fmt: skip
    assert len(scorer.asked) == 6 and len(set(scorer.asked)) == 6  # both protocols share them
    assert scorer.asked[0] == ("Hi. Tom is in", " a box")
    texts = [item.prediction for item in result.items("capitals", "long")]
    assert len(set(texts)) == 3 and all(text.startswith("seed ") for text in texts)
    assert result.items("capitals")[0].prediction == ""  # the first protocol
    assert result.items("capitals", "long")[0].flags == ["seen"]
    manifest = result.manifests["capitals"]
    assert (manifest.task_version, manifest.protocols) == ("3", ["short", "long"])
    assert manifest.options == {"greeting": "Hi. ", "shots": "0"}
    assert manifest.model == "letters" and manifest.scorer == {"kind": "fake"}
    again = cupel.evaluate(scorer, ["capitals"], data=capitals.parent, limit=2)
    assert len(again.items("capitals")) == 2
    with pytest.raises(KeyError):
        result.items("capitals", "none")
    with pytest.raises(KeyError):
        result.items("none")


def test_a_task_of_ones_own_on_a_real_model(registered, capitals, model, tokenizer):
    registered(Capitals)
    first = cupel.evaluate(model, tokenizer, [f"capitals:file={capitals}"], seed=5)
    second = cupel.evaluate(model, tokenizer, [f"capitals:file={capitals}"], seed=5, limit=1)
    assert first.items("capitals", "long")[0].prediction == (
        second.items("capitals", "long")[0].prediction
    )


def test_errors_of_a_task_come_back_as_they_are(registered, capitals):
    class Broken(Capitals):
        def score(self, item, protocol, outputs):
            raise ZeroDivisionError("my own")

    registered(Broken)
    with pytest.raises(ZeroDivisionError, match="my own"):
        cupel.evaluate(Letters(), [f"capitals:file={capitals}"])


def test_what_a_task_lacks_is_said(registered, capitals):
    class Empty(cupel.Task):
        info = cupel.TaskInfo("empty")

    class Nameless(cupel.Task):
        pass

    registered(Empty, "empty")
    registered(Nameless, "nameless")
    with pytest.raises(ValueError, match="defines load"):
        cupel.evaluate(Letters(), [f"empty:file={capitals}"])
    with pytest.raises(ValueError, match="defines info"):
        cupel.evaluate(Letters(), [f"nameless:file={capitals}"])


def test_names_are_unique_unless_replaced(registered):
    registered(Capitals)
    assert "capitals" in cupel.tasks()
    with pytest.raises(ValueError, match="replace=True"):
        cupel.task("capitals")(Capitals)
    assert cupel.task("capitals", replace=True)(Capitals) is Capitals
    with pytest.raises(TypeError, match="subclass of cupel.Task"):
        cupel.task("other")(lambda: None)
    with pytest.raises(ValueError, match="perplexity"):
        cupel.task("perplexity")(Capitals)
    assert isinstance(cupel.make_task("capitals"), Capitals)


def test_an_interpreter_with_a_registered_task_ends_well():
    code = (
        "import cupel\n"
        "class T(cupel.Task):\n    info = cupel.TaskInfo('t')\n"
        "cupel.add_task('t', T)\n"
        "print(cupel.make_task('t').info.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "t\n"), done.stderr


def test_built_in_tasks_can_be_looked_at(quiz):
    task = cupel.make_task("multiple_choice")
    items = task.load(quiz, {"delimiter": "_"})
    first = questions()[0]
    assert items[0]["context"] == first["context"] == items[0].context
    assert items[0].list("choices") == first["choices"]
    assert "answer" in items[0] and "none" not in items[0]
    with pytest.raises(AttributeError):
        items[0].none  # noqa: B018
    with pytest.raises(KeyError):
        items[0]["none"]
    request = task.requests(items[0])[1]
    assert (request.kind, request.continuation) == ("log_likelihood", "_" + first["choices"][1])
    quiz.write_text('{"context": "Q"}')
    with pytest.raises(cupel.FormatError, match="line 1"):
        task.load(quiz)


def test_against_compares_item_by_item(model, tokenizer, quiz):
    tasks = [f"multiple_choice:file={quiz}", "perplexity"]
    options = {"text": touchstone.folder() / touchstone.HELDOUT, "length": 128, "limit": 20}
    dense = cupel.evaluate(model, tokenizer, tasks, **options)
    assert dense.comparison is None
    pruned = cupel.load_model(touchstone.folder())
    cupel.compress(pruned, None, cupel.Prune("magnitude", cupel.unstructured(0.6)))
    result = cupel.evaluate(pruned, tokenizer, tasks, against=dense, **options)
    (paired,) = result.comparison.perplexities
    assert paired.ratio > 1 and paired.low < paired.loss_difference < paired.high
    assert paired.low > 0 and paired.blocks == 20
    rows = {row.metric: row for row in result.comparison.tasks}
    assert set(rows) == {"accuracy", "acc_norm", "acc_bytes"}
    accuracy = rows["accuracy"]
    before, after = (
        [item.values["accuracy"] for item in each.items("multiple_choice")]
        for each in (dense, result)
    )
    changes = [b - a for a, b in zip(before, after, strict=True)]
    assert accuracy.flips.right_to_wrong == changes.count(-1.0)
    assert accuracy.flips.wrong_to_right == changes.count(1.0)
    assert math.isclose(accuracy.difference, sum(changes) / len(changes), abs_tol=1e-12)
    assert accuracy.p <= accuracy.p_holm <= 1
    assert accuracy.verdict in ("matching", "not matching", "undecided")
    again = cupel.compare(
        cupel.EvalResult.from_json(dense.to_json()), cupel.EvalResult.from_json(result.to_json())
    )
    assert again.to_json() == result.comparison.to_json()
    assert "| multiple_choice |" in again.to_markdown()
    other = cupel.evaluate(model, tokenizer, tasks, **(options | {"length": 64}))
    with pytest.raises(ValueError, match=r"options.length: 128 and 64"):
        cupel.compare(dense, other)


def test_tables_for_pandas(model, tokenizer, quiz):
    pandas = pytest.importorskip("pandas")
    result = cupel.evaluate(model, tokenizer, [f"multiple_choice:file={quiz}"])
    metrics = result.to_pandas()
    assert isinstance(metrics, pandas.DataFrame)
    whole = metrics[(metrics.metric == "accuracy") & (metrics.category == "")]
    assert whole.value.item() == result.metrics["multiple_choice"]["strict"]["accuracy"]
    assert set(metrics.category) == {"", "home", "away"}
    items = result.to_pandas(items=True)
    assert len(items) == 24
    assert list(items.item) == [f"q{i}" for i in range(24)]
    assert items.accuracy.mean() == whole.value.item()


def test_without_pandas_it_says_so(model, tokenizer, quiz, monkeypatch):
    result = cupel.evaluate(model, tokenizer, [f"multiple_choice:file={quiz}"])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        result.to_pandas()
