"""The shipped touchstone: its files are what they say, and cupel and transformers read them alike."""

import json
import random
import shutil
import sys
from itertools import islice

import cupel
import pytest
from conftest import REPOSITORY
from cupel import touchstone
from cupel.touchstone import prompts
from cupel.touchstone.documents import MIX, DocumentStream
from cupel.touchstone.world import make_world, write_world
from touchstone_questions import quick_questions

sys.path.append(str(REPOSITORY / "examples" / "touchstone"))
FOLDER = touchstone.folder()
TALK = [
    {"role": "user", "content": "Say the word oar."},
    {"role": "assistant", "content": "oar"},
    {"role": "user", "content": "Begin with pot and end with jar."},
]


def read_json(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def odd_text(rng):
    """Whatever could set two readers of a text apart."""
    units = [" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u2581", " \u2581 ", "\u00a0", "\u3000", "\0"]
    units += [
        "é",
        "e\u0301",
        "日本",
        "🙂",
        "\ufeff",
        "\u200b",
        "<",
        ">",
        "<0x0A>",
        "[INST]",
        "&lt;",
    ]
    units += [
        "Profile: ",
        "lives in ",
        "Q:",
        "A.",
        "xyzzy",
        "Bror",
        "Ashbury",
        "42",
        "'s",
        "-",
        "(",
    ]
    return "".join(rng.choices(units, k=rng.randint(0, 12)))


@pytest.fixture(scope="module")
def texts():
    """Documents of the training mix, and texts of no kind."""
    stream = DocumentStream(make_world(touchstone.WORLD_SEED), seed=12)
    rng = random.Random(12)
    odd = [odd_text(rng) for _ in range(4000)]
    return [*(one.text for one in islice(stream.stream(MIX), 1000)), *odd, "", " ", "\u2581"]


def test_every_file_is_there_and_small():
    assert {path.name for path in FOLDER.iterdir()} == set(touchstone.FILES)
    sizes = {name: (FOLDER / name).stat().st_size for name in touchstone.FILES}
    assert sizes["model.safetensors"] <= 8_000_000
    assert 300_000 <= sizes[touchstone.CALIBRATION] <= 400_000
    assert 100_000 <= sizes[touchstone.HELDOUT] <= 150_000
    assert sum(sizes.values()) <= 9_000_000


def test_weights_are_bfloat16_and_as_many_as_the_config_says():
    with (FOLDER / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert header.pop("__metadata__") == {"format": "pt"}
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    size = max(tensor["data_offsets"][1] for tensor in header.values())
    config = read_json("config.json")
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    block = 4 * hidden * hidden + 3 * hidden * inner + 2 * hidden
    parameters = config["num_hidden_layers"] * block + config["vocab_size"] * hidden + hidden
    assert size == 2 * parameters and 1_500_000 <= parameters <= 3_000_000
    assert config["tie_word_embeddings"] and "lm_head.weight" not in header


def test_texts_are_those_of_the_world(tmp_path):
    write_world(tmp_path / "world", touchstone.WORLD_SEED)
    for name, source in ((touchstone.CALIBRATION, "calibration"), (touchstone.HELDOUT, "facts")):
        written = (tmp_path / "world" / "text" / f"{source}.txt").read_bytes()
        assert (FOLDER / name).read_bytes() == written


def test_questions_of_the_quick_grid_are_those_of_the_world():
    text = (REPOSITORY / "examples" / "kick" / "questions.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == quick_questions()


def test_tokenizer_is_made_from_the_world(tmp_path):
    pytest.importorskip("sentencepiece")
    import model_folder
    import vocabulary

    made = vocabulary.make_tokenizer(make_world(touchstone.WORLD_SEED))
    model_folder.write_tokenizer(tmp_path, made)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == 4


def test_no_training_document_needs_bytes(texts):
    """Where it stands alone: the first word of a line of a text file is spelled, having no space."""
    tokenizer = cupel.load_tokenizer(FOLDER)
    for text in texts[:1000]:
        assert not [id for id in tokenizer.encode(text, False) if id < 259], text


def test_all_readers_give_the_same_ids(texts):
    sentencepiece = pytest.importorskip("sentencepiece")
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    whole = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / "tokenizer.model"))
    bare = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    theirs = transformers.AutoTokenizer.from_pretrained(FOLDER)
    ours = cupel.load_tokenizer(FOLDER)
    assert len(theirs) == ours.vocabulary == read_json("config.json")["vocab_size"]
    assert (theirs.bos_token_id, theirs.eos_token_id) == (ours.bos, ours.eos) == (1, 2)
    for text in texts:
        ids = whole.encode(text)
        assert ours.encode(text, False) == ids, repr(text)
        assert bare.encode(text, add_special_tokens=False).ids == ids, repr(text)
        assert theirs(text)["input_ids"] == [1, *ids] == ours.encode(text), repr(text)
    for text in texts[:1000]:
        ids = ours.encode(text)
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)


def test_chat_template_is_what_training_shows():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(FOLDER)
    assert read_json("tokenizer_config.json")["chat_template"] == prompts.CHAT_TEMPLATE
    first = TALK[0]["content"] + prompts.REPLY
    template = cupel.chat_template(FOLDER)
    assert template(TALK[:1]) == first
    assert template(TALK) == f"{first} oar</s>{TALK[2]['content']}{prompts.REPLY}"
    for talk in (TALK[:1], TALK):
        assert theirs.apply_chat_template(talk, tokenize=False) == template(talk)
    # What stands between special tokens is encoded by itself, as it was trained.
    ids = theirs(template(TALK))["input_ids"]
    ours = cupel.load_tokenizer(FOLDER)
    assert ids == [*ours.encode(f"{first} oar"), 2, *ours.encode(template(TALK[2:]), False)]


def test_transformers_reads_the_model(tmp_path):
    """The same logits: dtype, rotary base and tied head are where transformers looks for them."""
    transformers = pytest.importorskip("transformers")
    import torch

    shutil.copytree(FOLDER, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
    )
    model = cupel.load_model(FOLDER, dtype="float32")
    ids = torch.tensor([cupel.load_tokenizer(FOLDER).encode("Profile: Ada lives in Ashbury.")])
    with torch.no_grad():
        expected = theirs(ids).logits
    torch.testing.assert_close(model.logits(ids), expected, atol=1e-4, rtol=1e-4)
