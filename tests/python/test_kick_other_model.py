"""A small dense model beside a large sparse one: parity counted from shapes, pairs, refusals."""

import csv
import json
import shutil

import cupel
import pytest
from cupel import touchstone
from cupel._kick.other_model import count, linear_weights, parity
from kick_grids import contents, flags, own_model, write_data

MODEL = touchstone.folder()


def fewer_blocks(folder, blocks=2, positions=None):
    """The model that comes with cupel, its last blocks left out."""
    config = json.loads((MODEL / "config.json").read_text())
    config["num_hidden_layers"] = blocks
    if positions:
        config["max_position_embeddings"] = positions
    tensors = {
        name: tensor
        for name, tensor in cupel.load_model(MODEL).state_dict().items()
        if not name.startswith("model.layers.") or int(name.split(".")[2]) < blocks
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    own_model(folder)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    cupel.write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return folder


def numbers(folder):
    """Numbers in all tensors of a model file, and in those of each linear layer of a block."""
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    sizes = {}
    for name, tensor in header.items():
        sizes[name] = 1
        for side in tensor["shape"]:
            sizes[name] *= side
    linear = {name: size for name, size in sizes.items() if "_proj." in name}
    return sum(sizes.values()), linear


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return fewer_blocks(tmp_path_factory.mktemp("small") / "little")


@pytest.fixture(scope="module")
def options(tmp_path_factory, small):
    return write_data(tmp_path_factory.mktemp("data")) | {
        "sparsity": [0.1, "parity"],
        "against_model": str(small),
        "methods": ["magnitude", "wanda"],
        "quantizers": [],
        "bits": [],
        "seeds": 0,
    }


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    return cupel.kick(MODEL, tmp_path_factory.mktemp("grid") / "out", **options)


def test_the_paper_s_models_meet_at_49_48_percent_and_not_at_46_16():
    def llama(hidden, inner, layers, vocabulary=32000):
        linear = layers * (4 * hidden * hidden + 3 * hidden * inner)
        return linear + (2 * layers + 1) * hidden + 2 * vocabulary * hidden, linear

    (small, _), (large, linear) = llama(4096, 11008, 32), llama(5120, 13824, 40)
    assert (small, large, linear) == (6_738_415_616, 13_015_864_320, 12_687_769_600)
    level = parity(large, small, linear)
    assert f"{level:.4f}" == "0.4948"
    assert round(large - level * linear) == small
    assert f"{(large - 0.4616 * linear) / 1e9:.2f}" == "7.16"


def test_shapes_are_counted_without_reading_weights(small, tiny):
    for folder in (MODEL, small):
        model = cupel.load_model(folder, lazy=True)
        assert count(model.tensor_shapes()) == numbers(folder)[0]
        assert linear_weights(model, [], []) == sum(numbers(folder)[1].values())
        assert model.tensor_shapes() == {n: list(t.shape) for n, t in model.state_dict().items()}
    assert cupel.load_model(MODEL).config.tied_embeddings  # its head is the embedding, once
    assert "lm_head.weight" in tiny().tensor_shapes()  # that of a model that is not tied counts
    linear = numbers(MODEL)[1]
    model = cupel.load_model(MODEL, lazy=True)
    downs = {name: size for name, size in linear.items() if "down_proj" in name}
    first = {name: size for name, size in downs.items() if ".0." in name}
    assert linear_weights(model, ["*.mlp.*"], []) == sum(
        size for name, size in linear.items() if ".mlp." not in name
    )
    assert linear_weights(model, ["re:model.layers.0"], ["*.down_proj"]) == sum(
        downs.values()
    ) - sum(first.values())


def test_cells_and_what_kick_json_says(whole, small, options):
    zeros = numbers(MODEL)[0] - numbers(small)[0]
    level = zeros / sum(numbers(MODEL)[1].values())
    kick = json.loads((whole.folder / "kick.json").read_text())
    assert kick["against_model"] == {
        "name": "little",
        "path": str(small.resolve()),
        "fingerprint": cupel.load_model(small).fingerprint(),
        "parameters": numbers(small)[0],
        "parity": {
            "sparsity": level,
            "zeros": zeros,
            "large_parameters": numbers(MODEL)[0],
            "small_parameters": numbers(small)[0],
            "linear_weights": sum(numbers(MODEL)[1].values()),
            "rule": kick["against_model"]["parity"]["rule"],
        },
    }
    assert "tied head once" in kick["against_model"]["parity"]["rule"]
    assert [one.id for one in whole.cells] == [
        "model-little", "magnitude-10", "magnitude-parity", "wanda-10-s0", "wanda-parity-s0",
    ]  # fmt: skip
    assert [one.status for one in whole.cells] == ["done"] * 5
    other, sparse = whole["model-little"].cell, whole["wanda-parity-s0"].cell
    assert (other.kind, other.level, other.label) == ("model", "dense", "little dense")
    assert (sparse.kind, sparse.level) == ("sparsity", level)
    assert sparse.label == f"wanda parity ({100 * level:.4g} %)"
    unresolved = cupel.KickGrid(**options).cells()
    assert [cell.id for cell in unresolved] == [one.id for one in whole.cells]
    assert unresolved[-1].level == "parity"


def test_as_many_weights_are_left_as_the_small_model_has(whole, small):
    wanted, linear = numbers(small)[0], numbers(MODEL)[1]
    assert whole["model-little"].info["nonzero_parameters"] == wanted
    assert whole["model-little"].info["parameters"] == wanted
    assert whole.dense.info["nonzero_parameters"] == numbers(MODEL)[0]
    rows = sum(cupel.load_model(MODEL).tensor_shapes()[name][0] for name in linear)
    # a level leaves out the fraction of a weight: one a matrix by magnitude, one a row by wanda
    for name, most in (("magnitude-parity", len(linear)), ("wanda-parity-s0", rows)):
        assert 0 <= whole[name].info["nonzero_parameters"] - wanted <= most
    tenth = whole["magnitude-10"].info["nonzero_parameters"]
    assert tenth > wanted + rows


def test_the_small_model_is_scored_and_compared_item_by_item(whole, small, options):
    model, tokenizer = cupel.load_model(small), cupel.load_tokenizer(small)
    scores = cupel.evaluate(model, tokenizer, options["tasks"], text=options["text"], limit=20)
    one = whole["model-little"]
    assert one.scores.metrics == scores.metrics
    assert one.scores.manifests["perplexity"].model == model.fingerprint()
    pair = whole.comparison("wanda-parity-s0", against="model-little")
    assert pair.to_json() == cupel.compare(scores, whole["wanda-parity-s0"].scores).to_json()
    assert pair.perplexities[0].dense == scores.perplexities["perplexity"].value
    against_dense = whole.comparison("model-little").perplexities[0]
    assert against_dense.ratio == pytest.approx(
        scores.perplexities["perplexity"].value
        / whole.dense.scores.perplexities["perplexity"].value
    )
    table = whole.to_pandas()
    assert set(table[table.id == "model-little"].kind) == {"model"}
    assert "little dense" in whole.to_markdown()


def test_the_report_sets_one_against_the_other(whole):
    written = cupel.write_html_report(whole.folder)
    text = written["report.md"].read_text(encoding="utf-8")
    title = "## A small dense model against large compressed ones\n\n"
    table = text.split(title)[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert len(rows) == 4 * 3  # cells x tasks
    (row,) = [row for row in rows if row[0].startswith("wanda parity") and row[3] == "perplexity"]
    pair = whole.comparison("wanda-parity-s0", against="model-little").perplexities[0]
    left = whole["wanda-parity-s0"].info["nonzero_parameters"]
    assert row[1] == f"{left:,}" and row[5] == f"{pair.dense:.3f}"
    assert row[7].startswith("× ") and row[9] == "–"
    sure = {True: "the small one", False: "the compressed one"}[pair.ratio > 1]
    assert row[10] == (sure if pair.ratio_low > 1 or pair.ratio_high < 1 else "not told apart")
    assert "4 compressed models of files (magnitude and wanda) and little dense" in text
    kept = [line for line in text.splitlines() if line.startswith("| little dense |")]
    assert kept and "No task is broken in any of 5 models" not in text
    with written["verdicts.csv"].open(encoding="utf-8") as file:
        kinds = {line["kind"]: line["level"] for line in csv.DictReader(file)}
    assert kinds["model"] == "dense"
    page = written["index.html"].read_text(encoding="utf-8")
    assert "against every compressed model" in page and "did not ask for parity" not in page


def test_a_grid_with_another_model_goes_on(whole, options, small, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole.folder, out)
    for name in ("model-little", "wanda-parity-s0"):
        (out / "cells" / name / "cell.json").unlink()
    moved = shutil.copytree(small, tmp_path / "elsewhere" / "little")
    again = cupel.kick(MODEL, out, resume=True, **(options | {"against_model": moved}))
    assert not again.failed
    there, here = contents(whole.folder), contents(out)
    assert {k: v for k, v in there.items() if not k.startswith("report/")} == {
        k: v for k, v in here.items() if not k.startswith("report/")
    }
    other = fewer_blocks(tmp_path / "other" / "little", blocks=3)
    with pytest.raises(ValueError, match=r"fingerprint is \w{64} there"):
        cupel.kick(MODEL, out, resume=True, **(options | {"against_model": other}))


def test_without_parity_it_is_one_more_model(options, tmp_path):
    chosen = options | {"methods": [], "sparsity": [], "limit": 2, "calibration": None}
    result = cupel.kick(MODEL, tmp_path / "out", quantizers="rtn", bits=4, **{
        key: value for key, value in chosen.items() if key not in ("quantizers", "bits")
    })  # fmt: skip
    assert [one.id for one in result.cells] == ["model-little", "rtn-4bit"]
    assert "parity" not in result.kick["against_model"]
    page = cupel.write_html_report(result.folder)["index.html"].read_text(encoding="utf-8")
    assert "did not ask for parity" in page


def given(options):
    """Flags of all options that are not empty."""
    return flags({key: value for key, value in options.items() if value not in ([], None)})


def refused(options, tmp_path, match, model=MODEL, error=ValueError, **changes):
    with pytest.raises(error, match=match):
        cupel.kick(model, tmp_path / "out", **(options | changes))
    assert not (tmp_path / "out").exists()


def test_no_parity_with_a_model_that_is_not_smaller(options, small, tmp_path):
    large, little = f"{numbers(MODEL)[0]:,}", f"{numbers(small)[0]:,}"
    refused(
        options, tmp_path, f"is smaller. Got {little} parameters, and {large} of", model=small,
        against_model=MODEL,
    )  # fmt: skip
    refused(options, tmp_path, f"Got {large} parameters, and {large} of", against_model=MODEL)


def test_no_parity_when_more_than_the_linear_layers_would_have_to_go(options, small, tmp_path):
    layers = ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]
    weights = sum(numbers(MODEL)[1][f"{name}.weight"] for name in layers)
    zeros = numbers(MODEL)[0] - numbers(small)[0]
    assert zeros > weights
    refused(options, tmp_path, f"Got {weights:,} weights there, and .* = {zeros:,}", only=layers)


def test_models_of_different_tokenizers_are_refused(options, small, tmp_path, tokenizer_model):
    other = shutil.copytree(small, tmp_path / "other")
    shutil.copyfile(tokenizer_model, other / "tokenizer.model")
    refused(
        options, tmp_path, "perplexities over different tokens do not compare",
        against_model=other, sparsity=[0.5],
    )  # fmt: skip


def test_windows_of_each_model_s_own_length_are_refused(options, tmp_path):
    short = fewer_blocks(tmp_path / "short", positions=256)
    match = "perplexity:length=N. Got models of 512 and 256 positions"
    refused(options, tmp_path, match, against_model=short, tasks=["perplexity"])
    chosen = options | {"against_model": short, "tasks": ["perplexity:length=64"], "limit": 2}
    result = cupel.kick(MODEL, tmp_path / "out", **chosen)
    assert not result.failed  # one length for both compares


def test_what_is_no_model_and_what_needs_one(options, tmp_path, command):
    refused(options, tmp_path, "no config.json", against_model=tmp_path, error=cupel.FormatError)
    refused(options, tmp_path, "give `against_model`", against_model=None)
    wrong = given(options | {"sparsity": ["half"], "limit": 1})
    done = command("kick", MODEL, *wrong, "--out", tmp_path / "out")
    assert done.returncode == 2 and "fraction from 0 to 1. Got half" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_says_where_parity_lies(options, small, tmp_path, command):
    chosen = options | {"methods": ["magnitude"], "sparsity": "parity", "limit": 2}
    done = command("kick", MODEL, *given(chosen), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    level = (numbers(MODEL)[0] - numbers(small)[0]) / sum(numbers(MODEL)[1].values())
    linear = sum(numbers(MODEL)[1].values())
    assert f"{level:.4%} of {linear:,} linear weights leave {numbers(small)[0]:,} of" in done.stderr
    assert f"as it is, {numbers(small)[0]:,} parameters" in done.stderr
    assert "little dense" in done.stdout
