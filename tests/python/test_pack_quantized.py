"""Packed folders: transformers reads ours with compressed-tensors, and we read its own."""

import json

import cupel
import pytest
import torch
from conftest import TINY_CONFIG, tiny_state_dict

transformers = pytest.importorskip("transformers")
compressed_tensors = pytest.importorskip("compressed_tensors")

TOKENS = torch.arange(48).view(2, 24) % TINY_CONFIG["vocab_size"]
UP = "model.layers.1.mlp.up_proj"


def model_of(dtype=torch.float32, **changes):
    config = {**TINY_CONFIG, "torch_dtype": str(dtype).removeprefix("torch."), **changes}
    tensors = {name: tensor.to(dtype) for name, tensor in tiny_state_dict(config).items()}
    if config["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    return cupel.make_model(json.dumps(config), tensors)


def quantized(bits=4, group=8, symmetric=False, dtype=torch.float32, **changes):
    model = model_of(dtype, **changes)
    scale_dtype = str(dtype).removeprefix("torch.")
    grid = cupel.Grid(bits=bits, group=group, symmetric=symmetric, scale_dtype=scale_dtype)
    cupel.compress(model, None, cupel.Rtn(grid))
    return model


def packed_folder(path, **options):
    cupel.save_model(quantized(**options), path, format="pack-quantized")
    return path


def logits_of_transformers(folder, dequantize=False):
    options = {}
    if dequantize:
        options["quantization_config"] = transformers.CompressedTensorsConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **options)
    with torch.no_grad():
        return model.eval()(TOKENS).logits.float(), model


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group", [0, 8])
@pytest.mark.parametrize("bits", [4, 8])
def test_transformers_computes_the_same_logits(bits, group, symmetric, tmp_path):
    model = quantized(bits, group, symmetric)
    cupel.save_model(model, tmp_path / "packed", format="pack-quantized")
    cupel.save_model(model, tmp_path / "dense")
    theirs, loaded = logits_of_transformers(tmp_path / "packed")
    assert (theirs - model.logits(TOKENS)).abs().max() < 1e-5
    # More than the logits: every weight is the same to the last bit.
    weights = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(weights[name], tensor), name
    again = cupel.load_model(tmp_path / "packed")
    assert again.fingerprint() == model.fingerprint()
    assert torch.equal(again.logits(TOKENS), model.logits(TOKENS))
    packed, dense = (cupel.weight_bytes_on_disk(tmp_path / name) for name in ("packed", "dense"))
    assert packed < dense


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_half_precision_weights_are_the_same_to_the_last_bit(dtype, symmetric, tmp_path):
    model = quantized(4, 8, symmetric, dtype)
    folder = tmp_path / "packed"
    cupel.save_model(model, folder, format="pack-quantized")
    theirs, loaded = logits_of_transformers(folder)
    assert loaded.dtype == dtype
    weights = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(weights[name], tensor), name
    tolerance = 8 * torch.finfo(dtype).eps * theirs.abs().max()
    assert (theirs - model.logits(TOKENS)).abs().max() < tolerance
    assert cupel.load_model(folder).fingerprint() == model.fingerprint()


def test_dequantized_on_load_and_in_another_dtype_it_is_the_same_model(tmp_path):
    model = quantized(8, 8, dtype=torch.bfloat16)
    cupel.save_model(model, tmp_path / "packed", format="pack-quantized")
    theirs, _ = logits_of_transformers(tmp_path / "packed", dequantize=True)
    assert (theirs - model.logits(TOKENS)).abs().max() < 0.05
    wide = cupel.load_model(tmp_path / "packed", dtype="float32")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "packed", dtype=torch.float32
    ).eval()
    with torch.no_grad():
        difference = (loaded(TOKENS).logits - wide.logits(TOKENS)).abs().max()
    assert difference < 1e-5


@pytest.mark.parametrize("tied", [False, True])
def test_layers_that_differ_are_read_by_transformers(tied, tmp_path):
    model = model_of(tie_word_embeddings=tied)
    four = cupel.Rtn(cupel.Grid(bits=4, group=8))
    eight = cupel.Rtn(cupel.Grid(bits=8, symmetric=True))
    cupel.compress(model, None, four, only=["*.mlp.*"])
    cupel.compress(model, None, eight, only=["*.self_attn.*"], skip=["*.0.self_attn.o_proj"])
    cupel.save_model(model, tmp_path / "packed", format="pack-quantized")
    config = json.loads((tmp_path / "packed" / "config.json").read_text())
    quantization = config["quantization_config"]
    assert len(quantization["config_groups"]) == 2
    assert quantization["ignore"] == ["model.layers.0.self_attn.o_proj", "lm_head"]
    theirs, _ = logits_of_transformers(tmp_path / "packed")
    assert (theirs - model.logits(TOKENS)).abs().max() < 1e-5
    assert cupel.load_model(tmp_path / "packed").fingerprint() == model.fingerprint()


def test_biases_stay_dense(tmp_path):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=88, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    dense = transformers.LlamaForCausalLM(config)
    for name, tensor in dense.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(tensor)
    dense.save_pretrained(tmp_path / "dense")
    model = cupel.load_model(tmp_path / "dense")
    cupel.compress(model, None, cupel.Rtn(cupel.Grid(bits=8)))
    cupel.save_model(model, tmp_path / "packed", format="pack-quantized")
    theirs, _ = logits_of_transformers(tmp_path / "packed")
    assert (theirs - model.logits(TOKENS)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "options", [{}, {"order": "activation", "static_groups": True}, {"group": 0}]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_gptq_makes_is_packed(options, dtype, tokens, tmp_path):
    options = {"group": 8, **options}
    scale_dtype = str(dtype).removeprefix("torch.")
    grid = cupel.Grid(bits=4, group=options.pop("group"), scale_dtype=scale_dtype)
    model = model_of(dtype)
    cupel.compress(model, tokens, cupel.Gptq(grid, **options))
    cupel.save_model(model, tmp_path / "packed", format="pack-quantized")
    assert cupel.load_model(tmp_path / "packed").fingerprint() == model.fingerprint()
    theirs, loaded = logits_of_transformers(tmp_path / "packed")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_gptq_in_an_order_of_its_own_needs_static_groups(tokens, tmp_path):
    model = model_of()
    method = cupel.Gptq(cupel.Grid(bits=4, group=8), order="activation")
    cupel.compress(model, tokens, method)
    with pytest.raises(ValueError, match="static_groups=true"):
        cupel.save_model(model, tmp_path / "out", format="pack-quantized")
    assert not (tmp_path / "out").exists()


def test_pruned_and_then_quantized_weights_keep_their_zeros(tokens, tmp_path):
    model = model_of()
    cupel.compress(model, tokens, cupel.Prune("wanda", cupel.n_of_m(2, 4)))
    result = cupel.compress(model, tokens, cupel.Gptq(cupel.Grid(bits=4, group=8)))
    assert result.sparsity >= 0.5
    cupel.save_model(model, tmp_path / "packed", format="pack-quantized")
    again = cupel.load_model(tmp_path / "packed")
    assert again.fingerprint() == model.fingerprint()


def test_the_config_is_one_that_compressed_tensors_accepts(tmp_path):
    folder = packed_folder(tmp_path / "packed", symmetric=True)
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    parsed = compressed_tensors.QuantizationConfig.model_validate(config)
    (scheme,) = parsed.config_groups.values()
    assert scheme.weights.num_bits == 4 and scheme.weights.group_size == 8
    assert scheme.weights.symmetric and scheme.weights.strategy == "group"
    assert parsed.quantization_status == "compressed" and parsed.ignore == ["lm_head"]


def theirs_packed(folder, *, symmetric, group, bits, actorder=None, ignore=("lm_head",)):
    """A folder as llm-compressor writes it: rounded, packed and saved by compressed-tensors."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )
    from compressed_tensors.quantization.utils import calculate_qparams

    torch.manual_seed(3)
    config = {**TINY_CONFIG, "tie_word_embeddings": False}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
    args = QuantizationArgs(
        num_bits=bits,
        symmetric=symmetric,
        group_size=group or None,
        strategy="group" if group else "channel",
        actorder=actorder,
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    apply_quantization_config(
        model,
        QuantizationConfig(
            config_groups={"group_0": scheme}, ignore=list(ignore), quantization_status="frozen"
        ),
    )
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is None:
            continue
        weight = module.weight.data
        parts = weight.view(weight.shape[0], -1, group or weight.shape[1])
        scale, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), args)
        module.weight_scale.data = scale.to(weight.dtype)
        if not symmetric:
            module.weight_zero_point.data = zero
    compressor = ModelCompressor.from_pretrained_model(model, "pack-quantized")
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)
    return folder


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group", [0, 8])
@pytest.mark.parametrize("bits", [4, 8])
def test_we_read_what_compressed_tensors_writes(bits, group, symmetric, tmp_path):
    folder = theirs_packed(
        tmp_path / "theirs", symmetric=symmetric, group=group, bits=bits, actorder="weight"
    )
    theirs, loaded = logits_of_transformers(folder)
    for lazy in (False, True):
        ours = cupel.load_model(folder, lazy=lazy)
        assert (theirs - ours.logits(TOKENS)).abs().max() < 1e-5
        weights = loaded.state_dict()
        for name, tensor in ours.state_dict().items():
            assert torch.equal(weights[name], tensor), name
    # Written again, each tensor has the bytes that it had.
    cupel.save_model(ours, tmp_path / "ours", format="pack-quantized")
    before = cupel.read_safetensors(folder / "model.safetensors")
    after = cupel.read_safetensors(tmp_path / "ours" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


def test_packed_to_dense_and_onwards(tmp_path):
    folder = packed_folder(tmp_path / "packed")
    model = cupel.load_model(folder)
    cupel.save_model(model, tmp_path / "dense")
    theirs, loaded = logits_of_transformers(tmp_path / "dense")
    assert getattr(loaded.config, "quantization_config", None) is None
    assert (theirs - model.logits(TOKENS)).abs().max() < 1e-5
    result = cupel.compress_checkpoint(
        folder, None, cupel.Rtn(cupel.Grid(bits=8)), tmp_path / "again", format="pack-quantized"
    )
    assert len(result.layers) == 14
    theirs, _ = logits_of_transformers(tmp_path / "again")
    ours = cupel.load_model(tmp_path / "again")
    assert (theirs - ours.logits(TOKENS)).abs().max() < 1e-5
    assert json.loads((tmp_path / "again" / "cupel.json").read_text())["format"] == "pack-quantized"


@pytest.mark.parametrize(
    ("grid", "dtype", "rule"),
    [
        (cupel.Grid(bits=3), torch.float32, "4 or 8 bits. Got 3"),
        (cupel.Grid(bits=4, group=16), torch.float32, "a group that divides 88"),
        (cupel.Grid(bits=4), torch.bfloat16, 'compress with scale_dtype="bfloat16"'),
    ],
)
def test_what_the_format_cannot_hold_is_refused(grid, dtype, rule, tmp_path):
    model = model_of(dtype)
    cupel.compress(model, None, cupel.Rtn(grid))
    with pytest.raises(ValueError, match=rule) as caught:
        cupel.save_model(model, tmp_path / "out", format="pack-quantized")
    assert "model.layers." in str(caught.value) and not (tmp_path / "out").exists()


def test_models_without_codes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a quantized layer"):
        cupel.save_model(model_of(), tmp_path / "out", format="pack-quantized")
    model = quantized()
    for name, tensor in model.state_dict().items():
        if name.endswith("_proj.weight"):
            tensor.mul_(1.5)  # codes do not outlive a change of the weight
    with pytest.raises(ValueError, match="needs a quantized layer"):
        cupel.save_model(model, tmp_path / "out", format="pack-quantized")
    with pytest.raises(ValueError, match="choose a method that quantizes"):
        cupel.save_model(model, tmp_path / "dense")
        prune = cupel.Prune("magnitude", cupel.unstructured(0.5))
        cupel.compress_checkpoint(
            tmp_path / "dense", None, prune, tmp_path / "out", format="pack-quantized"
        )
    with pytest.raises(ValueError, match="dense or pack-quantized. Got 'int4'"):
        cupel.save_model(model, tmp_path / "out", format="int4")
    assert not (tmp_path / "out").exists()


def test_groups_in_another_order_of_columns_are_refused(tmp_path):
    class Reordered(cupel.Compressor):
        name = "reordered"
        needs = "none"

        def compress(self, task):
            made = cupel.Rtn(cupel.Grid(bits=4, group=8)).compress(task.weight, name=task.name)
            made.group_index = made.group_index.flip(0)
            group = made.group_index.long()
            made.weight = (made.codes - made.zeros[:, group].float()) * made.scales[:, group]
            return made

    model = model_of()
    cupel.compress(model, None, Reordered())
    with pytest.raises(ValueError, match="no other order of columns"):
        cupel.save_model(model, tmp_path / "out", format="pack-quantized")
    assert not (tmp_path / "out").exists()


def spoil(folder, change):
    """Applies `change(config, tensors)` to a packed folder."""
    config = json.loads((folder / "config.json").read_text())
    tensors = cupel.read_safetensors(folder / "model.safetensors")
    change(config["quantization_config"], tensors)
    (folder / "config.json").write_text(json.dumps(config))
    cupel.write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return folder


def set_tensor(part, make):
    name = f"{UP}.{part}"
    return lambda _, tensors: tensors.update({name: make(tensors[name])})


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda _, tensors: tensors.pop(f"{UP}.weight_scale"), "weight_scale"),
        (lambda _, tensors: tensors.pop(f"{UP}.weight_zero_point"), "weight_zero_point"),
        (set_tensor("weight_packed", lambda t: t[:, :-1]), "weight_packed"),
        (set_tensor("weight_packed", lambda t: t.long()), "weight_packed"),
        (set_tensor("weight_scale", lambda t: t.double()), "weight_scale"),
        (set_tensor("weight_scale", lambda t: t * float("nan")), "weight_scale"),
        (set_tensor("weight_shape", lambda t: t.flip(0)), "weight_shape"),
        (lambda config, _: config["config_groups"]["group_0"]["weights"].update(group_size=5),
         "group_size must divide the columns"),
        (lambda config, _: config["config_groups"]["group_0"]["weights"].update(num_bits=2),
         "num_bits"),
        (lambda config, _: config.update(format="float-quantized"), "format"),
        (lambda config, _: config.update(sparsity_config={"format": "dense"}), "sparsity_config"),
    ],
)  # fmt: skip
def test_a_malformed_folder_is_a_format_error(change, where, tmp_path):
    folder = spoil(packed_folder(tmp_path / "packed"), change)
    with pytest.raises(cupel.FormatError, match=where):
        cupel.load_model(folder)


def test_bits_after_the_last_code_must_be_zero(tmp_path):
    folder = packed_folder(tmp_path / "packed", num_attention_heads=16)
    name = "model.layers.0.self_attn.k_proj.weight_zero_point"
    tensors = cupel.read_safetensors(folder / "model.safetensors")
    assert tensors[name].shape == (1, 4)  # 4 outputs of 4 bits: half a word
    spoil(folder, lambda _, tensors: tensors[name].bitwise_or_(1 << 20))
    with pytest.raises(cupel.FormatError, match="must be zero"):
        cupel.load_model(folder)
