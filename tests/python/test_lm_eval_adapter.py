"""cupel's models inside lm-eval."""

import json
import subprocess
import sys

import cupel
import pytest
from conftest import words
from lm_eval_models import LETTERS, byte_pairs, instances, oracle, questions, small_models

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.tasks import TaskManager  # noqa: E402


@pytest.fixture(scope="module")
def small():
    return small_models()


def letters_task(folder, count=12):
    """A multiple-choice task on local lines of JSON."""
    asked = questions(count, 5, False)
    rows = [{"text": q[0][0], "right": i % 4} for i, q in enumerate(asked)]
    (folder / "letters.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "task": "letters",
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}",
        "doc_to_choice": list(LETTERS),
        "doc_to_target": "{{right}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    } | source(folder / "letters.jsonl")


def prose_task(folder):
    rows = [{"text": words(60, seed)} for seed in range(4)]
    (folder / "prose.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "task": "prose",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    } | source(folder / "prose.jsonl")


def answers_task(folder, **arguments):
    rows = [{"text": words(6, seed), "right": "ka"} for seed in range(4)]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "task": "answers",
        "output_type": "generate_until",
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{right}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 12} | arguments,
        "metric_list": [{"metric": "exact_match"}],
    } | source(folder / "answers.jsonl")


def source(file):
    return {
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(file)},
            "cache_dir": str(file.parent / "cache"),
        },
        "test_split": "test",
    }


def evaluate(lm, tasks, **options):
    return lm_eval.simple_evaluate(
        model=lm,
        tasks=tasks,
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        verbosity="ERROR",
        **options,
    )


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")


def test_tasks_of_lm_eval_run_on_a_cupel_model(small, tmp_path):
    ours, theirs, tokenizer = (*small, byte_pairs(True))
    tasks = [letters_task(tmp_path), prose_task(tmp_path), answers_task(tmp_path)]
    lm = cupel.lm_eval.LM(ours, tokenizer)
    made, expected = (evaluate(model, tasks) for model in (lm, oracle(theirs, tokenizer)))
    for task in ("letters", "prose", "answers"):
        for a, b in zip(made["samples"][task], expected["samples"][task], strict=True):
            if task == "letters":
                assert [float(x[0][0]) for x in a["resps"]] == pytest.approx(
                    [float(x[0][0]) for x in b["resps"]], abs=1e-4
                )
                assert [x[0][1] for x in a["resps"]] == [x[0][1] for x in b["resps"]]
            elif task == "prose":
                assert a["resps"][0][0] == pytest.approx(b["resps"][0][0], rel=1e-6)
            else:
                assert a["resps"] == b["resps"] and a["resps"][0][0]
    assert made["results"]["letters"]["acc,none"] == expected["results"]["letters"]["acc,none"]
    a, b = (m["results"]["prose"]["word_perplexity,none"] for m in (made, expected))
    assert a == pytest.approx(b, rel=1e-6)
    assert made["config"]["model_fingerprint"] == ours.fingerprint()
    assert made["config"]["cupel_version"] == cupel.__version__


class Echo(cupel.Scorer):
    """Notes what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def info(self):
        return cupel.ScorerInfo(cupel.TokenModelInfo(1, 1), "echo")

    def log_likelihood(self, requests):
        return [cupel.LogLikelihood(-1.0, flags=["truncated"]) for _ in requests]

    def rolling_log_likelihood(self, texts):
        return [cupel.LogLikelihood(-float(len(text))) for text in texts]

    def generate(self, requests):
        self.asked += requests
        return [cupel.Generation(r.prompt, 1, "length", ["no_stop"]) for r in requests]


def generate(arguments, repeats=1, **options):
    scorer = Echo()
    lm = cupel.lm_eval.LM(scorer, **options)
    (request,) = instances("generate_until", [("kalo", arguments)])
    assert lm.generate_until([request] * repeats) == ["kalo"] * repeats
    return scorer.asked


def test_generation_arguments_reach_the_scorer():
    (made,) = generate({"until": "\n", "max_new_tokens": 5})
    assert (made.prompt, made.stop, made.max_new_tokens, made.temperature) == ("kalo", ["\n"], 5, 0)
    (made,) = generate({"until": ["a", "", "b"]}, max_gen_toks=9)
    assert (made.stop, made.max_new_tokens) == (["a", "b"], 9)
    assert generate({})[0].max_new_tokens == 256
    (made,) = generate({"do_sample": False, "temperature": 0.7, "top_p": 0.5})
    assert (made.temperature, made.top_p) == (0, 1)
    (made,) = generate({"temperature": 0.7, "top_p": 0.5, "top_k": 3})
    assert (made.temperature, made.top_p, made.top_k) == (0.7, 0.5, 3)
    assert generate({"do_sample": True})[0].temperature == 1
    with pytest.raises(ValueError, match="Got num_beams"):
        generate({"num_beams": 2})


def test_repeats_are_sampled_apart_and_again_alike():
    arguments = {"do_sample": True, "temperature": 1.0}
    seeds = [request.seed for request in generate(arguments, repeats=3)]
    assert len(set(seeds)) == 3
    assert seeds == [request.seed for request in generate(arguments, repeats=3)]
    assert set(seeds).isdisjoint(r.seed for r in generate(arguments, repeats=3, seed=1))


def test_what_lm_eval_cannot_hold_is_counted_and_said(caplog):
    lm = cupel.lm_eval.LM(Echo())
    with caplog.at_level("WARNING"):
        assert lm.loglikelihood(instances("loglikelihood", [("a", "b")] * 2)) == [(-1.0, True)] * 2
        lm.generate_until(instances("generate_until", [("a", {})]))
    assert lm.flags == {"truncated": 2, "no_stop": 1}
    assert "loglikelihood: 2 truncated (of 2 requests)" in caplog.text
    assert lm.loglikelihood([]) == [] and lm.loglikelihood_rolling([]) == []


def test_answers_reach_lm_evals_cache():
    lm, kept = cupel.lm_eval.LM(Echo()), []

    class Hook:
        def add_partial(self, *entry):
            kept.append(entry)

    lm.set_cache_hook(Hook())
    lm.loglikelihood(instances("loglikelihood", [("a", "b")]))
    lm.loglikelihood_rolling(instances("loglikelihood_rolling", [("abc",)]))
    lm.generate_until(instances("generate_until", [("a", {"until": ["x"]})]))
    assert kept == [
        ("loglikelihood", ("a", "b"), (-1.0, True)),
        ("loglikelihood_rolling", ("abc",), -3.0),
        ("generate_until", ("a", {"until": ["x"]}), "a"),
    ]


def test_what_the_adapter_is_made_of(small):
    ours, theirs, tokenizer = (*small, byte_pairs(True))
    with pytest.raises(TypeError, match="a model needs a tokenizer"):
        cupel.lm_eval.LM(ours)
    with pytest.raises(TypeError, match="a scorer has its options already. Got boundary"):
        cupel.lm_eval.LM(Echo(), boundary="joint")
    assert isinstance(cupel.lm_eval.LM(theirs, tokenizer).scorer, cupel.ModelScorer)
    with pytest.raises(ValueError, match="chat template is that of a tokenizer of transformers"):
        cupel.lm_eval.LM(Echo()).apply_chat_template([])
    tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    lm = cupel.lm_eval.LM(Echo(), tokenizer)
    assert lm.apply_chat_template([{"role": "user", "content": "kalo"}]) == "[kalo]"
    assert lm.chat_template(True) == tokenizer.chat_template and lm.chat_template(False) == ""


def test_without_lm_eval_the_error_says_what_to_install():
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'lm_eval': raise ModuleNotFoundError('gone', name='lm_eval')\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import cupel\n"
        "cupel.lm_eval.LM\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "ImportError: cupel.lm_eval needs lm-eval 0.4.13 or later, which is not installed: "
        "pip install 'cupel[lm-eval]'."
    )
