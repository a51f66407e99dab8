"""What we write is read by transformers and safetensors, and means the same there."""

import json
import math

import cupel
import pytest
import torch

transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")


def test_the_safetensors_package_reads_what_we_write(tmp_path):
    tensors = {
        "b": torch.arange(6, dtype=torch.int32).view(2, 3),
        "a.weight": torch.randn(3, 5).to(torch.bfloat16),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "mask": torch.tensor([True, False]),
    }
    path = tmp_path / "x.safetensors"
    cupel.write_safetensors(path, tensors, {"made by": "ä test"})
    theirs = safetensors_torch.load_file(path)
    assert theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert theirs[name].dtype == tensor.dtype and torch.equal(theirs[name], tensor), name
    with safetensors_torch.safe_open(path, "pt") as file:
        assert file.metadata() == {"made by": "ä test"}


def test_we_read_what_the_safetensors_package_writes(tmp_path):
    tensors = {"x": torch.randn(2, 3), "y": torch.randn(4).half(), "z": torch.ones(2).bool()}
    safetensors_torch.save_file(tensors, tmp_path / "x.safetensors")
    ours = cupel.read_safetensors(tmp_path / "x.safetensors")
    assert ours.keys() == tensors.keys()
    assert all(torch.equal(ours[name], tensors[name]) for name in tensors)


def test_non_contiguous_tensors_are_written_as_they_look(tmp_path):
    tensor = torch.arange(12.0).view(3, 4).T
    cupel.write_safetensors(tmp_path / "x.safetensors", {"t": tensor})
    assert torch.equal(safetensors_torch.load_file(tmp_path / "x.safetensors")["t"], tensor)


def plain_perplexity(folder, ids, length):
    """The protocol written out with transformers and nothing of ours."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total = count = 0
    with torch.no_grad():
        for begin in range(0, len(ids) - length + 1, length):
            window = torch.tensor(ids[begin : begin + length])[None]
            loss = model(window, labels=window).loss.double().item()
            total, count = total + loss * (length - 1), count + length - 1
    return math.exp(total / count)


def test_perplexity_is_that_of_a_plain_transformers_loop(tiny_folder, tmp_path):
    tokenizer = cupel.load_tokenizer(tiny_folder)
    heldout = tmp_path / "heldout.txt"
    windows = cupel.sample_windows(tmp_path / "calibration.txt", tokenizer, samples=8, length=32)
    model = cupel.load_model(tiny_folder)
    cupel.compress(model, windows, cupel.Prune("wanda", cupel.unstructured(0.5)))
    cupel.save_model(model, tmp_path / "half")
    ids = tokenizer.encode(heldout.read_text(encoding="utf-8"))
    values = []
    for folder in (tiny_folder, tmp_path / "half"):
        ours = cupel.perplexity(cupel.load_model(folder), tokenizer, heldout, length=48)
        assert ours.value == pytest.approx(plain_perplexity(folder, ids, 48), rel=1e-4)
        values.append(ours.value)
    assert abs(values[0] / values[1] - 1) > 1e-3  # the two are different models


def test_the_same_on_a_trained_model(shared_path, tmp_path):
    source = shared_path("models/stories260K")
    tokenizer = cupel.load_tokenizer(source)
    text = shared_path("data/tinystories/heldout.txt").read_text(encoding="utf-8")[:20000]
    (tmp_path / "heldout.txt").write_text(text, encoding="utf-8")
    calibration = shared_path("data/tinystories/calibration.txt")
    windows = cupel.sample_windows(calibration, tokenizer, samples=16, length=128)
    model = cupel.load_model(source)
    cupel.compress(model, windows, cupel.Prune("wanda", cupel.n_of_m(2, 4)))
    cupel.save_model(model, tmp_path / "half")
    for folder in (source, tmp_path / "half"):
        ours = cupel.perplexity(
            cupel.load_model(folder), tokenizer, tmp_path / "heldout.txt", length=128
        )
        theirs = plain_perplexity(folder, tokenizer.encode(text), 128)
        assert ours.value == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_is_the_same_model_with_its_files(tied, dtype, tmp_path):
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).to(dtype)
    theirs.save_pretrained(tmp_path / "source", max_shard_size="20KB")
    (tmp_path / "source" / "chat_template.jinja").write_text("{{ messages }}")
    cupel.save_model(cupel.load_model(tmp_path / "source"), tmp_path / "copy")

    def names(folder):
        return {path.name for path in folder.iterdir()}

    assert names(tmp_path / "copy") == names(tmp_path / "source") | {"cupel.json"}
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "copy", dtype="auto")
    assert again.dtype == dtype
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    record = json.loads((tmp_path / "copy" / "cupel.json").read_text())
    assert record["compression"] == [] and len(record["tensors"]) >= len(theirs.state_dict()) - tied


def test_weights_of_another_model_are_not_left_beside_ours(tiny, tmp_path):
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"somebody's")
    with pytest.raises(ValueError, match="model-00001-of-00002.safetensors"):
        cupel.save_model(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model-00001-of-00002.safetensors"]
