"""Our forward pass against transformers', and against numbers that transformers left behind."""

import json

import cupel
import pytest
import torch

transformers = pytest.importorskip("transformers")

BASE = {
    "vocab_size": 120,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 96,
    "tie_word_embeddings": False,
    "attn_implementation": "eager",
}
VARIANTS = {
    "plain": {},
    "grouped-query": {"num_key_value_heads": 2},
    "one key-value head": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "head_dim": {"head_dim": 24},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "rope theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "rope linear": {
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    },
    "rope llama3": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "eps": {"rms_norm_eps": 1e-2},
}


def make(folder, dtype=torch.float32, **options):
    """A seeded transformers model, saved to `folder`; its weights are large enough to tell errors."""
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**BASE | options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.2 * noise if "norm" in name else 0.3 * noise)
    model.to(dtype).save_pretrained(folder)
    return model


def load(folder, dtype):
    """Not model.to(dtype), which would round the rotary frequencies as well."""
    return transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager"
    ).eval()


def some_tokens(vocabulary=120, shape=(3, 64)):
    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(5))


def check_close(ours, theirs):
    assert ours.dtype == torch.float32 and ours.shape == theirs.shape
    limit = 1e-5 * max(1.0, float(theirs.abs().max()))
    assert float((ours - theirs).abs().max()) <= limit


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_logits(variant, tmp_path):
    theirs = make(tmp_path, **VARIANTS[variant])
    tokens = some_tokens()
    check_close(cupel.load_model(tmp_path).logits(tokens), theirs(tokens).logits)


@torch.no_grad()
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_computed_in_float32(dtype, lazy, tmp_path):
    make(tmp_path, dtype, num_key_value_heads=2)
    theirs = load(tmp_path, torch.float32)
    tokens = some_tokens()
    ours = cupel.load_model(tmp_path, dtype="float32", lazy=lazy)
    check_close(ours.logits(tokens), theirs(tokens).logits)


@torch.no_grad()
def test_native_bfloat16_agrees_on_the_likeliest_token(tmp_path):
    # Weights at the usual scale: at 0.3 bfloat16 itself would decide little.
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**BASE | {"num_key_value_heads": 2})
    theirs = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        theirs.lm_head.weight.normal_(std=1.0)
    theirs.to(torch.bfloat16).save_pretrained(tmp_path)
    theirs = load(tmp_path, torch.bfloat16)
    ours = cupel.load_model(tmp_path)
    assert ours.dtype == torch.bfloat16
    tokens = some_tokens(shape=(16, 64))
    agree = ours.logits(tokens).argmax(-1) == theirs(tokens).logits.argmax(-1)
    assert agree.float().mean() >= 0.99


@torch.no_grad()
def test_sharded_and_single_files_are_the_same_model(tmp_path):
    theirs = make(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="50KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    one, many = cupel.load_model(tmp_path / "one"), cupel.load_model(tmp_path / "many")
    assert one.fingerprint() == many.fingerprint()
    tokens = some_tokens()
    assert torch.equal(one.logits(tokens), many.logits(tokens))


def anchors(shared_path, name):
    return json.loads(shared_path("models/anchors.json").read_text())[name]


MODELS = pytest.mark.parametrize("name", ["stories260K", "babyllama-tok105"])


@pytest.fixture
def anchor_text(shared_path, tmp_path):
    text = shared_path("data/tinystories/heldout.txt").read_text(encoding="utf-8")[:200000]
    path = tmp_path / "heldout.txt"
    path.write_bytes(text.encode("utf-8"))
    return path


@MODELS
def test_anchors_of_the_tokenizer_and_the_loss(name, shared_path, anchor_text):
    anchor = anchors(shared_path, name)
    model = cupel.load_model(shared_path(f"models/{name}"))
    tokenizer = cupel.load_tokenizer(shared_path(f"models/{name}"))
    ids = tokenizer.encode(anchor_text.read_text(encoding="utf-8"))
    assert ids[: len(anchor["first_ids"])] == anchor["first_ids"]
    assert len(ids) == anchor["tokens_in_text"]
    made = cupel.perplexity(model, tokenizer, anchor_text, length=anchor["length"])
    assert (made.windows, made.protocol) == (anchor["windows"], "gptq")
    assert made.loss == pytest.approx(anchor["loss"], abs=1e-5)
    assert made.value == pytest.approx(anchor["perplexity"], rel=1e-5)


@MODELS
def test_anchors_of_logits_and_greedy_text(name, shared_path):
    anchor = anchors(shared_path, name)
    model = cupel.load_model(shared_path(f"models/{name}"))
    tokenizer = cupel.load_tokenizer(shared_path(f"models/{name}"))
    probe = model.logits(torch.arange(1, 33)[None])[0, -1, :6]
    expected = torch.tensor(anchor["logits_probe"])
    assert float((probe - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))
    greedy = anchor["greedy"]
    made = cupel.generate(model, greedy[:1], max_new_tokens=len(greedy) - 1)
    assert greedy[:1] + made == greedy
    if "greedy_text" in anchor:
        assert tokenizer.decode(greedy) == anchor["greedy_text"]
