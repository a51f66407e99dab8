"""The harness protocol against lm-eval itself, text for text and number for number."""

import math
import random
import re

import cupel
import pytest
import torch
from character_models import both_models, hf_tokenizer, uniform, write_jsonl

# Pieces that WikiText's rules look at, some where they don't apply.
PARTS = [
    "kalo", "mi", " ren", "tu", " s '", " 's", " @-@ ", " @,@ ", " @.@ ", " : ", " ; ", " . ", " ! ",
    " ? ", " , ", "( ", " )", "[ ", " ]", "{ ", " }", ' " ', " ' ", "''", '"', "(", ")", "/' 5/",
    "/' 5/' 6/", "/' x/", "= = = =", "= = =", " = = ", " = ", " \n", "\n ", "\n", " N ", " N N ",
    " \u00b0 ", "\u00b0", "\u00a0", "\u2003", "\u3000 ", "\x1c", "\x85", "\u200b", "\u00e9", " ", "  ",
]  # fmt: skip


class Recorder(cupel.Tokenizer):
    """Remembers what it was given to encode; one id for each text."""

    vocabulary, bos, eos, fingerprint = 4, 1, 2, "recorder"

    def __init__(self):
        super().__init__()
        self.texts = []

    def encode(self, text, special_tokens=True):
        self.texts.append(text)
        return [3]


def articles(count, seed=0):
    """Text in WikiText's style."""
    rng = random.Random(seed)
    return ["".join(rng.choices(PARTS, k=rng.randint(0, 60))) for _ in range(count)]


def lm_eval_rolling(model, tokenizer, pages, **options):
    """Log-likelihoods by lm-eval's wikitext task, and its three metrics of the whole."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    from lm_eval.api.instance import Instance
    from lm_eval.tasks.wikitext import preprocess_wikitext as task

    harness = huggingface.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, **options)
    docs = [{"page": page} for page in pages]
    requests = [
        Instance("loglikelihood_rolling", doc, (task.wikitext_detokenizer(doc),), 0) for doc in docs
    ]
    values = harness.loglikelihood_rolling(requests, disable_tqdm=True)
    results = [task.process_results(doc, (value,)) for doc, value in zip(docs, values, strict=True)]
    return values, {
        name: -sum(r[name][0] for r in results) / sum(r[name][1] for r in results)
        for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")
    }


def check_against_lm_eval(got, values, metrics):
    ours = [-loss * count for loss, count in zip(got.window_losses, got.window_tokens, strict=True)]
    assert ours == pytest.approx([value for value in values if value != 0], rel=1e-6)
    assert math.log(got.word_perplexity) == pytest.approx(metrics["word_perplexity"], rel=1e-6)
    assert math.log(got.byte_perplexity) == pytest.approx(metrics["byte_perplexity"], rel=1e-6)
    assert got.bits_per_byte == pytest.approx(metrics["bits_per_byte"] / math.log(2), rel=1e-6)
    assert got.value == pytest.approx(math.exp(-sum(values) / got.scored), rel=1e-6)


@pytest.mark.parametrize("length", [0, 16])
@pytest.mark.parametrize("bos", [True, False])
def test_harness_equals_lm_eval(tmp_path, bos, length):
    ours, theirs = both_models()
    tokenizer = hf_tokenizer(bos)
    pages = [*articles(12), "", "k", "x" * 63, "x" * 64, "x" * 65, "x" * 129, "<s>kalo"]
    file = write_jsonl(tmp_path / "pages.jsonl", pages)
    values, metrics = lm_eval_rolling(theirs, tokenizer, pages, max_length=length or None)
    got = cupel.perplexity(ours, tokenizer, file, protocol="harness", length=length)
    check_against_lm_eval(got, values, metrics)
    assert got.documents == len(pages)
    empty = sum(not page for page in pages)
    assert got.skipped == (0 if bos else empty)  # BOS alone is scored after the first BOS
    # A page that spells out BOS begins with one of its own, and with none but that.
    twice = len(pages) if bos else 1
    assert got.notes == [
        f"{twice} documents begin with BOS twice, the second scored, as lm-eval has it."
    ]


def split_pages(text):
    """Pages as the data set wikitext_document_level has them."""
    pages, lines = [], []
    for line in text.split("\n"):
        title = line.strip()
        if title.startswith("= ") and title.endswith(" =") and not title.startswith("= ="):
            pages.append("\n".join(lines))
            lines = []
        lines.append(line)
    return [page for page in [*pages, "\n".join(lines)] if page.strip()]


def test_harness_of_a_trained_model_equals_lm_eval(shared_path, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = shared_path("models/stories260K")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = shared_path("data/wikitext2/wiki.test.raw").read_text("utf-8")
    pages = split_pages(text)[:2]
    (tmp_path / "wiki.test.raw").write_text(" \n" + "\n".join(pages), "utf-8")
    values, metrics = lm_eval_rolling(theirs, tokenizer, pages)
    got = cupel.perplexity(
        cupel.load_model(folder), tokenizer, tmp_path / "wiki.test.raw", protocol="harness"
    )
    assert got.documents == 2
    check_against_lm_eval(got, values, metrics)


def test_wikitext_is_detokenised_and_counted_as_lm_eval_does(tmp_path):
    task = pytest.importorskip("lm_eval.tasks.wikitext.preprocess_wikitext")
    pages = articles(2000, seed=1)
    recorder = Recorder()
    file = write_jsonl(tmp_path / "pages.jsonl", pages)
    got = cupel.perplexity(uniform(), recorder, file, protocol="harness")
    wanted = [task.wikitext_detokenizer({"page": page}) for page in pages]
    assert recorder.texts == wanted
    assert sum(a != b for a, b in zip(pages, wanted, strict=True)) > 1000
    counts = [task.process_results({"page": page}, (0.0,)) for page in pages]
    assert got.words == sum(count["word_perplexity"][1] for count in counts)
    assert got.bytes == sum(count["byte_perplexity"][1] for count in counts)


def test_raw_wikitext_is_split_at_titles(tmp_path):
    text = (
        " \n = Kalo Mi = \n \n One . \n \n = = Ren = = \n \n Two = 2 . \n \n = = = Tu = = = \n"
        " \n = Sa = \n = Vo = \n three\n"
    )
    recorder = Recorder()
    (tmp_path / "wiki.test.raw").write_text(text)
    got = cupel.perplexity(uniform(), recorder, tmp_path / "wiki.test.raw", protocol="harness")
    titles = [re.search(r"= (.*?) =", text).group(1) for text in recorder.texts]
    assert titles == ["Kalo Mi", "Sa", "Vo"]
    assert (got.documents, got.bytes) == (3, len(text) - len(" \n") - 2)
    (tmp_path / "other.txt").write_text(text)
    assert (
        cupel.perplexity(uniform(), recorder, tmp_path / "other.txt", protocol="harness").documents
        == 1
    )


def test_all_pages_of_wikitext_2(shared_path):
    task = pytest.importorskip("lm_eval.tasks.wikitext.preprocess_wikitext")
    path = shared_path("data/wikitext2/wiki.test.raw")
    recorder = Recorder()
    got = cupel.perplexity(uniform(), recorder, path, protocol="harness")
    pages = split_pages(path.read_text("utf-8"))
    assert recorder.texts == [task.wikitext_detokenizer({"page": page}) for page in pages]
    assert got.documents == len(pages) == 62
    assert got.words == sum(len(re.split(r"\s+", page)) for page in pages)
    assert got.bytes == sum(len(page.encode()) for page in pages)


def test_n25_one_token_documents_are_skipped_and_counted(tmp_path):
    bare = hf_tokenizer(bos=False).backend_tokenizer  # says of no id that it begins a text
    file = write_jsonl(tmp_path / "pages.jsonl", ["k", "kalo", "", "mi"])
    got = cupel.perplexity(uniform(), bare, file, protocol="harness")
    assert (got.documents, got.skipped, got.tokens, got.scored, got.dropped) == (4, 2, 7, 4, 3)
    assert got.window_tokens == [3, 1]
    assert got.notes == [
        "The tokenizer has neither BOS nor EOS: the first token of each document is not scored, "
        "3 in all."
    ]
