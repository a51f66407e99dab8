"""The tasks that let a model write, run whole: summarization and instruction."""

import json

import cupel
import pytest

STORY = "ka lo mi tu.\n\nren sa vo ner.\n\n@highlight\n\nka lo\n\n@highlight\n\nren sa"
TALKS = [
    {"question_id": 7, "category": "math", "turns": ["ka lo", "mi ren"]},
    {"question_id": 8, "category": "writing", "turns": ["tu sa vo", "ner"]},
    {"question_id": 9, "category": "stem", "text": "vo vo"},
]


@pytest.fixture
def model(tiny, tokenizer_model):
    """A tiny model and its tokenizer."""
    return tiny(), cupel.load_tokenizer(tokenizer_model)


def write_lines(path, objects):
    path.write_text("".join(json.dumps(o) + "\n" for o in objects))
    return path


def answers(result, task, protocol="strict"):
    return {item.id: item.prediction for item in result.items(task, protocol)}


@pytest.mark.parametrize("template", ["none", "chatml"])
def test_an_answer_is_the_same_alone_and_among_others(model, tmp_path, template):
    options = f"template={template},max_new_tokens=6"
    together = cupel.evaluate(
        *model, [f"instruction:{options},file={write_lines(tmp_path / 'all.jsonl', TALKS)}"]
    )
    for talk in reversed(TALKS):
        file = write_lines(tmp_path / "one.jsonl", [talk])
        alone = cupel.evaluate(*model, [f"instruction:{options},file={file}"])
        for protocol in ("strict", "paper"):
            ((name, text),) = answers(alone, "instruction", protocol).items()
            assert answers(together, "instruction", protocol)[name] == text


def test_a_later_pass_finds_questions_and_answers(model, tmp_path):
    file = write_lines(tmp_path / "q.jsonl", TALKS)
    result = cupel.evaluate(
        *model, [f"instruction:template=none,max_new_tokens=5,file={file}"], record=tmp_path / "r"
    )
    items = {i.id: i for i in cupel.make_task("instruction").load(file)}
    lines = (tmp_path / "r" / "instruction.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines if '"item":' in line]
    assert [f["item"] for f in found] == ["7", "8", "9"]
    for line in found:
        for protocol in ("strict", "paper"):
            numbers = line["protocols"][protocol]["requests"]
            texts = [line["requests"][n]["text"].strip() for n in numbers]
            assert len(texts) == len(items[line["item"]].list("turns"))
            assert "\n\n".join(texts) == answers(result, "instruction", protocol)[line["item"]]
    # Greedy and sampled requests of equal prompts are different ones.
    assert len(found[0]["requests"]) == 4
    again = cupel.evaluate(
        *model,
        [f"instruction:template=none,max_new_tokens=5,file={file}"],
        record=tmp_path / "r",
        resume=True,
    )
    assert answers(again, "instruction") == answers(result, "instruction")


def test_summaries_of_stories(model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "cnn" / name).mkdir(parents=True)
        (tmp_path / "cnn" / name / "1.story").write_text(STORY)
    (tmp_path / "cnn" / "a" / "2.story").write_text("lo lo lo")
    result = cupel.evaluate(
        *model, [f"summarization:template=none,max_new_tokens=8,file={tmp_path / 'cnn'}"]
    )
    metrics = result.metrics["summarization"]["strict"]
    assert metrics["items"] == 2
    assert metrics["duplicates_removed"] == 1
    assert metrics["items_with_rouge1"] == 1
    # The instruction alone is longer than the tiny model's 64 positions.
    assert metrics["flag_overflow"] == 2
    assert result.metrics["summarization"]["paper"]["flag_overflow"] == 2


def test_comparison_of_two_models(tiny, model, tmp_path):
    file = write_lines(tmp_path / "q.jsonl", TALKS)
    task = f"instruction:template=none,max_new_tokens=8,file={file}"
    dense = cupel.evaluate(*model, [task])
    pruned = tiny()
    cupel.compress(pruned, None, cupel.Prune("magnitude", cupel.unstructured(0.5)))
    comparison = cupel.compare(dense, cupel.evaluate(pruned, model[1], [task]))
    assert "unique_tokens" in comparison.to_markdown()


@pytest.mark.parametrize("data", ["mt_bench", "vicuna80"])
def test_published_questions_run_whole(data, shared_path):
    folder = shared_path("models/stories260K")
    file = shared_path(f"data/{data}/question.jsonl")
    result = cupel.evaluate(
        cupel.load_model(folder),
        cupel.load_tokenizer(folder),
        [f"instruction:max_new_tokens=8,template=none,protocols=strict,file={file}"],
    )
    metrics = result.metrics["instruction"]["strict"]
    assert metrics["items"] == 80
    items = result.items("instruction")
    assert sorted(i.id for i in items) == sorted(
        str(json.loads(line)["question_id"]) for line in file.read_text().splitlines()
    )
    assert all(0 < i.values["tokens"] <= 8 for i in items)
