"""SentencePiece's own ids, long texts too; Hugging Face tokenizers do as well as cupel's own."""

import json
import random
import subprocess
import sys

import cupel
import pytest
import torch
from cupel import touchstone

SENTENCES = [
    "Once upon a time, there was a little girl named Lily.",
    "  two spaces, a tab\tand\na line",
    "",
    "Zażółć gęślą jaźń 🙂",
]


@pytest.fixture
def folder(shared_path):
    return shared_path("models/stories260K")


def fast(folder):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def bare(folder):
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


KINDS = pytest.mark.parametrize("kind", [fast, bare])


@KINDS
def test_the_same_windows(kind, folder, shared_path):
    path = shared_path("data/tinystories/calibration.txt")
    own = cupel.sample_windows(path, cupel.load_tokenizer(folder), samples=6, length=64, seed=3)
    theirs = cupel.sample_windows(path, kind(folder), samples=6, length=64, seed=3)
    assert torch.equal(own, theirs)


@KINDS
def test_the_same_perplexity(kind, folder, shared_path, tmp_path):
    text = shared_path("data/tinystories/heldout.txt").read_text(encoding="utf-8")[:8000]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    model = cupel.load_model(folder)
    own = cupel.perplexity(model, cupel.load_tokenizer(folder), tmp_path / "text.txt", length=64)
    theirs = cupel.perplexity(model, kind(folder), tmp_path / "text.txt", length=64)
    assert own.window_losses == theirs.window_losses
    assert own.tokenizer != theirs.tokenizer  # another definition, and the result says so


@KINDS
@pytest.mark.parametrize("text", SENTENCES)
def test_ids_and_back(kind, folder, text):
    theirs = kind(folder)
    wrapped = cupel.huggingface.Tokenizer(theirs)
    for special in (True, False):
        ids = theirs.encode(text, add_special_tokens=special)
        assert wrapped.encode(text, special) == list(getattr(ids, "ids", ids))
    assert wrapped.encode(text, True) == [1, *wrapped.encode(text, False)]
    assert wrapped.decode(wrapped.encode(text, True)) == wrapped.decode(wrapped.encode(text, False))


def test_properties(folder):
    own, wrapped = cupel.load_tokenizer(folder), cupel.huggingface.Tokenizer(fast(folder))
    assert (wrapped.vocabulary, wrapped.bos, wrapped.eos) == (own.vocabulary, own.bos, own.eos)
    wrapped = cupel.huggingface.Tokenizer(bare(folder))
    assert (wrapped.vocabulary, wrapped.bos, wrapped.eos) == (own.vocabulary, -1, -1)


def test_fingerprints_are_stable_and_tell_tokenizers_apart(folder, shared_path):
    one, two = fast(folder), fast(folder)
    two(["a", "a longer text"], padding=False, truncation=True, max_length=3)  # changes its state
    prints = [cupel.huggingface.Tokenizer(tokenizer).fingerprint for tokenizer in (one, two)]
    assert prints[0] == prints[1] and len(prints[0]) == 64
    other = cupel.huggingface.Tokenizer(fast(shared_path("models/babyllama-tok105")))
    assert other.fingerprint != prints[0]


def test_truncation_is_refused_instead_of_cutting_texts(folder):
    tokenizer = bare(folder)
    tokenizer.enable_truncation(8)
    with pytest.raises(ValueError, match="no_truncation"):
        cupel.huggingface.Tokenizer(tokenizer)


def test_texts_longer_than_the_model_are_encoded_whole_and_without_a_warning(folder, caplog):
    tokenizer = fast(folder)
    tokenizer.model_max_length = 16
    ids = cupel.huggingface.Tokenizer(tokenizer).encode("a story " * 200)
    assert len(ids) > 200
    assert "longer than" not in caplog.text


class Slow:
    """What a tokenizer without a backend looks like."""

    bos_token_id, eos_token_id = 0, None
    init_kwargs = {"vocab_file": "/somewhere/vocab.json", "add_bos": True}

    def __len__(self):
        return 3

    def get_vocab(self):
        return {"<s>": 0, "a": 1, "b": 2}

    def encode(self, text, add_special_tokens=True):
        return [0] * add_special_tokens + [self.get_vocab()[c] for c in text]

    def __call__(self, text, add_special_tokens=True, **_):
        return {"input_ids": self.encode(text, add_special_tokens)}

    def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=True):
        return "".join("<ab"[i] for i in ids if i or not skip_special_tokens)


def test_slow_tokenizers():
    wrapped = cupel.huggingface.Tokenizer(Slow())
    assert wrapped.encode("ab") == [0, 1, 2] and wrapped.encode("ab", False) == [1, 2]
    assert wrapped.decode([0, 2, 1]) == "ba"
    assert (wrapped.vocabulary, wrapped.bos, wrapped.eos) == (3, 0, -1)
    elsewhere = Slow()
    elsewhere.init_kwargs = {"vocab_file": "/elsewhere/vocab.json", "add_bos": True}
    assert cupel.huggingface.Tokenizer(elsewhere).fingerprint == wrapped.fingerprint
    elsewhere.init_kwargs = {"vocab_file": "/elsewhere/vocab.json", "add_bos": False}
    assert cupel.huggingface.Tokenizer(elsewhere).fingerprint != wrapped.fingerprint


class Letters(cupel.Tokenizer):
    """A tokenizer of one's own: a letter, a token."""

    vocabulary, bos, eos, fingerprint = 96, -1, -1, "letters"

    def encode(self, text, special_tokens=True):
        return [ord(c) % 96 for c in text]

    def decode(self, ids):
        return "".join(chr(i) for i in ids)


def test_own_tokenizer(tiny, tmp_path):
    (tmp_path / "text.txt").write_text("abcdefgh" * 20)
    made = cupel.perplexity(tiny(), Letters(), tmp_path / "text.txt", length=16)
    assert (made.tokens, made.windows, made.tokenizer) == (160, 10, "letters")


def test_own_tokenizer_that_lacks_a_property_is_told(tiny, tmp_path):
    class Unfinished(cupel.Tokenizer):
        def encode(self, text, special_tokens=True):
            return [1] * len(text)

    (tmp_path / "text.txt").write_text("abcdefgh" * 20)
    with pytest.raises(ValueError, match="a subclass defines the property vocabulary"):
        cupel.perplexity(tiny(), Unfinished(), tmp_path / "text.txt", length=16)


def test_the_command_takes_a_tokenizer_json(folder, shared_path, tmp_path, command):
    pytest.importorskip("transformers")
    copy = tmp_path / "model"
    copy.mkdir()
    for path in folder.iterdir():
        if path.name != "tokenizer.model":
            (copy / path.name).write_bytes(path.read_bytes())
    text = shared_path("data/tinystories/heldout.txt").read_text(encoding="utf-8")[:4000]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    arguments = ("--text", tmp_path / "text.txt", "--length", 64, "--out", tmp_path / "scores")
    done = command("evaluate", copy, *arguments)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    own = cupel.perplexity(
        cupel.load_model(folder), cupel.load_tokenizer(folder), tmp_path / "text.txt", length=64
    )
    assert scores["perplexities"]["perplexity"]["loss"] == own.loss


SENTENCEPIECE_MODELS = [
    "touchstone",
    "models/stories260K/tokenizer.model",
    "models/babyllama-tok105/tokenizer.model",
    "tokenizers/llama2/tokenizer.model",
    "tokenizers/mistral/tokenizer.model.v1",
    "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
]


def nasty_text(size):
    """`size` characters of whatever could matter where a long text is cut, in seeded order."""
    units = [
        " ",
        " ",
        "  ",
        "     ",
        "\u2581",
        "\t",
        "\n",
        "\r\n",
        "\0",
        "\u00a0",
        "\u3000",
        "\u200b",
    ]
    units += ["<s>", "</s>", "<unk>", "<0x0A>", "[INST]", "[/INST] ", "\u2047", "e\u0301", "\ufeff"]
    units += [
        "the",
        " of",
        " Once upon",
        "ing ",
        "a",
        ".",
        "42",
        "ż",
        "日本",
        "🙂",
        "x" * 40,
        " " * 40,
    ]
    draw = random.Random(5)
    return "".join(draw.choices(units, k=size))[:size]


LONG_TEXTS = {
    "nasty": nasty_text(300_000),
    "one word": "word" * 50_000,
    "spaces": " " * 150_000,
    "touchstone": (touchstone.folder() / "calibration.txt").read_text(encoding="utf-8"),
    "wikitext2": "data/wikitext2/wiki.test.raw",
    "tinystories": "data/tinystories/heldout.txt",
}


@pytest.mark.parametrize("text", LONG_TEXTS)
@pytest.mark.parametrize("model", SENTENCEPIECE_MODELS)
def test_long_texts_get_the_ids_of_the_whole(model, text, shared_path):
    """cupel hands libsentencepiece parts of 64 KiB; the Python package here encodes all at once."""
    sentencepiece = pytest.importorskip("sentencepiece")
    path = touchstone.folder() / "tokenizer.model" if model == "touchstone" else shared_path(model)
    long = LONG_TEXTS[text]
    if long.startswith("data/"):
        long = shared_path(long).read_bytes().decode()
    assert len(long.encode()) > 2 * 65536
    whole = sentencepiece.SentencePieceProcessor(model_file=str(path)).encode(long)
    assert cupel.load_tokenizer(path).encode(long, False) == whole


MEMORY = """
import resource, sys, cupel
from cupel import touchstone
text = (touchstone.folder() / "calibration.txt").read_text(encoding="utf-8")
text = (text * (1 + 2_000_000 // len(text)))[:2_000_000]
tokenizer = cupel.load_tokenizer(touchstone.folder())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ids = tokenizer.encode(text)
print(len(ids), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_a_long_text_does_not_fill_the_memory():
    """In a process of its own: encoded whole, this text takes 150 MiB."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tokens, kib = map(int, done.stdout.split())
    assert kib * 1024 <= 8 * tokens + (64 << 20)
