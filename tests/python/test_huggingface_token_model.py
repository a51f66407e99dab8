"""Models of transformers as token models: padding, states and the head change no logits."""

import cupel
import pytest
import torch
from conftest import words
from huggingface_models import EXPERTS, SMALL, hooks, transformers
from huggingface_models import MODELS as COMPRESSED

LENGTH = SMALL["max_position_embeddings"]
Row = cupel.TokenModel.Row

GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LENGTH, "rotary_dim": 4}
# Logits that are capped or scaled; positions by bias; attention in chunks; layers that share keys.
MODELS = COMPRESSED | {
    "gemma2": (
        "Gemma2ForCausalLM",
        {"head_dim": 8, "sliding_window": 6}
        | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0},
    ),
    "mistral": ("MistralForCausalLM", {"sliding_window": 6}),
    "cohere": ("CohereForCausalLM", {"logit_scale": 0.25}),
    "granite": ("GraniteForCausalLM", {"logits_scaling": 4.0}),
    "bloom": ("BloomForCausalLM", {"n_head": 4, "n_layer": 2}),
    "falcon": ("FalconForCausalLM", {"alibi": True}),
    "gptj": ("GPTJForCausalLM", GPT),
    "phi3": ("Phi3ForCausalLM", {"sliding_window": 6}),
    "llama4": (
        "Llama4ForCausalLM",
        {"head_dim": 8, "attention_chunk_size": 6, "intermediate_size_mlp": 48} | EXPERTS,
    ),
    "mamba": ("MambaForCausalLM", {"state_size": 4}),
    "lfm2": ("Lfm2ForCausalLM", {"layer_types": ["conv", "full_attention"]}),
    "rwkv": ("RwkvForCausalLM", {"context_length": LENGTH, "attention_hidden_size": 32}),
}
SCALED = {"gemma2", "cohere", "granite"}
WITHOUT_STATES = {"mamba", "lfm2", "rwkv"}
WITHOUT_LENGTH = {"bloom", "rwkv", "mamba"}


def make(kind, dtype=torch.float32, **options):
    name, own = MODELS[kind]
    cls = getattr(transformers, name)
    torch.manual_seed(0)
    config = SMALL | {"bos_token_id": 1, "eos_token_id": 2} | own | options
    model = cls(cls.config_class(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model.to(dtype).eval()


def ids(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SMALL["vocab_size"], (length,), generator=generator).tolist()


def plain(model, tokens):
    """What transformers gives for these tokens alone."""
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float()


def collect(model, rows):
    """Logits of every wanted row, and the states."""
    pieces = []

    def sink(first, logits):
        assert first == sum(map(len, pieces))
        pieces.append(logits.clone())

    states = model.run(rows, sink)
    return torch.cat(pieces) if pieces else None, states


def close(a, b):
    return a.shape == b.shape and float((a - b).abs().max()) < 2e-5 * max(1, float(b.abs().max()))


@pytest.fixture(params=MODELS)
def wrapped(request):
    model = make(request.param)
    return request.param, model, cupel.huggingface.TokenModel(model, max_length=LENGTH)


def test_rows_of_all_lengths_give_what_each_gives_alone(wrapped):
    _, model, tokens = wrapped
    lengths = [3, 30, 12, 29, 1, 30, 28, 13]
    sequences = [ids(length, seed) for seed, length in enumerate(lengths)]
    rows, expected = [], []
    for sequence in sequences:
        wanted = sorted({0, len(sequence) // 2, len(sequence) - 1})
        rows.append(Row(sequence, wanted))
        expected.append(plain(model, sequence)[wanted])
    rows.insert(2, Row([5, 6]))  # nothing wanted
    logits, states = collect(tokens, rows)
    assert logits.dtype == torch.float32 and close(logits, torch.cat(expected))
    assert states == [None] * len(rows)


def test_states_give_what_whole_sequences_give(wrapped):
    kind, model, tokens = wrapped
    info = tokens.info()
    assert info.has_states == (kind not in WITHOUT_STATES)
    if not info.has_states:
        assert "cache" in tokens.forward.why_no_states and info.state_bytes == 0
        with pytest.raises(ValueError, match="this model keeps no states: its cache"):
            tokens.prefill(ids(4))
        return
    # Longer than the attention windows, grown in steps, shared by rows of other lengths, and with
    # rows beside them that have another state or none.
    whole = ids(30)
    first = tokens.prefill(whole[:9])
    second = tokens.prefill(whole[9:17], first)
    assert (len(first), len(second)) == (9, 17) and info.state_bytes * 17 == second.bytes
    other = ids(20, 1)
    rows = [
        Row(whole[17:], list(range(13)), second),
        Row(whole[17:20], [2], second, keep=True),
        Row(whole[9:], [20], first),
        Row(other, [19]),
        Row(whole[17:29], [11], second, keep=True),
    ]
    logits, states = collect(tokens, rows)
    want = plain(model, whole)
    expected = [want[17:], want[19:20], want[29:30], plain(model, other)[19:20], want[28:29]]
    assert close(logits, torch.cat(expected))
    assert [None if s is None else len(s) for s in states] == [None, 20, None, None, 29]
    assert close(tokens.logits(whole[20:], state=states[1]), want[20:])
    assert close(tokens.logits(whole[29:], state=states[4]), want[29:])
    assert close(tokens.logits(whole[17:], state=second), want[17:])  # as it was
    logits, moved = tokens.decode([whole[9], whole[17]], [first, second])
    assert close(logits, want[[9, 17]]) and [len(s) for s in moved] == [10, 18]


def test_the_head_sees_wanted_rows_only(wrapped):
    kind, model, tokens = wrapped
    assert tokens.forward.head == ("rows" if kind in SCALED else "pieces")
    seen = []
    handle = model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: seen.append(output.shape[:-1].numel())
    )
    before = hooks(model)
    tokens.logits(ids(30), [4, 29])
    handle.remove()
    assert sum(seen) <= 3 and hooks(model) == before - 1


def test_a_head_that_gives_something_else_is_not_used_alone():
    model = make("llama")
    forward = model.forward

    def twisted(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = output.logits.cumsum(1)  # not a function of a row
        return output

    model.forward = twisted
    tokens = cupel.huggingface.TokenModel(model)
    assert tokens.forward.head == "all"
    assert close(tokens.logits(ids(12), [3, 11]), plain(model, ids(12))[[3, 11]])


def test_logits_come_in_pieces_and_in_order(monkeypatch):
    from cupel.huggingface import token_model

    model = make("llama")
    tokens = cupel.huggingface.TokenModel(model)
    monkeypatch.setattr(token_model, "PIECE_BYTES", 5 * 4 * SMALL["vocab_size"])
    monkeypatch.setattr(token_model, "WAITING_BYTES", 24 * 4 * SMALL["vocab_size"])
    sizes = []
    rows = [Row(ids(n, n), list(range(n))) for n in (7, 20, 3, 11)]
    got = []
    tokens.run(rows, lambda first, logits: (sizes.append(len(logits)), got.append(logits.clone())))
    assert max(sizes) == 5
    assert close(torch.cat(got), torch.cat([plain(model, ids(n, n)) for n in (7, 20, 3, 11)]))


def test_batches_pad_little():
    from cupel.huggingface.token_model import BATCH_TOKENS, _batches, _Row

    lengths = [3, 500, 498, 700, 900, 4, 5, 6, 2000, 64] * 3
    rows = [_Row(i, [1] * n, [], None, i % 7 == 0) for i, n in enumerate(lengths)]
    batches = list(_batches(rows, True))
    assert sorted(row.index for batch in batches for row in batch) == list(range(len(rows)))
    padded = 0
    for batch in batches:
        longest = max(len(row.tokens) for row in batch)
        assert len(batch) == 1 or longest * len(batch) <= BATCH_TOKENS
        assert len({row.keep for row in batch}) == 1
        if batch[0].keep:
            assert len({len(row.tokens) for row in batch}) == 1
        padded += longest * len(batch)
    assert padded < 1.05 * sum(lengths)
    assert len(batches) < len(rows)


def test_angles_that_depend_on_the_length_are_left_alone():
    angles = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 16,
    }
    model = make(
        "phi3", rope_parameters=angles, sliding_window=None, original_max_position_embeddings=16
    )
    tokens = cupel.huggingface.TokenModel(model)
    assert not tokens.info().has_states and "rotary angles" in tokens.forward.why_no_states
    short, long = ids(15), ids(20, 1)
    logits, _ = collect(tokens, [Row(short, [14]), Row(long, [19])])
    assert close(logits[:1], plain(model, short)[14:])
    assert close(logits[1:], plain(model, long)[19:])
    # Or there would be nothing to leave alone.
    with torch.no_grad():
        together = model(torch.tensor([short + short[-1:] * 5])).logits[0, 14]
    assert not close(together[None].float(), plain(model, short)[14:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_half_precision(kind, dtype):
    model = make(kind, dtype)
    tokens = cupel.huggingface.TokenModel(model)
    assert tokens.info().has_states and tokens.info().dtype == str(dtype).removeprefix("torch.")
    assert tokens.forward.head == ("rows" if kind in SCALED else "pieces")
    want, state = plain(model, ids(30)), tokens.prefill(ids(30)[:17])
    got = tokens.logits(ids(30)[17:], state=state)
    assert got.dtype == torch.float32
    assert float((got - want[17:]).abs().max()) < 16 * torch.finfo(dtype).eps * float(want.max())


def test_the_fingerprint_is_of_the_weights_as_they_are_now():
    model = make("llama", torch.bfloat16)
    tokens = cupel.huggingface.TokenModel(model)
    before = tokens.info().fingerprint
    assert before == cupel.huggingface.TokenModel(make("llama", torch.bfloat16)).info().fingerprint
    assert before != cupel.huggingface.TokenModel(make("llama")).info().fingerprint
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] += 0.5
    assert len(before) == 64 and tokens.info().fingerprint != before


def test_the_model_is_left_as_it_was():
    model = make("gpt2")
    model.train()
    model.transformer.h[0].eval()
    modes = [part.training for part in model.modules()]
    before = hooks(model)
    tokens = cupel.huggingface.TokenModel(model)
    assert torch.equal(tokens.logits(ids(9)), tokens.logits(ids(9)))  # no dropout
    with pytest.raises(ValueError, match="at most"):
        tokens.logits(ids(LENGTH + 1))
    assert [part.training for part in model.modules()] == modes and hooks(model) == before
    assert not tokens.logits(ids(9)).requires_grad
    model.eval()
    assert close(tokens.logits(ids(9)), plain(model, ids(9)))


def test_lengths_are_checked_with_the_state():
    tokens = cupel.huggingface.TokenModel(make("llama"), max_length=20)
    state = tokens.prefill(ids(15))
    tokens.logits(ids(5), state=state)
    with pytest.raises(ValueError, match="a sequence has at most 20 tokens. Got 21"):
        tokens.logits(ids(6), state=state)
    with pytest.raises(ValueError, match=r"ids lie in \[0, 96\). Got 3 to 96"):
        tokens.logits([3, 96])


@pytest.mark.parametrize("kind", MODELS)
def test_the_length_is_that_of_the_config(kind):
    model = make(kind)
    if kind in WITHOUT_LENGTH and not hasattr(model.config, "max_position_embeddings"):
        with pytest.raises(ValueError, match="pass .*max_length="):
            cupel.huggingface.TokenModel(model)
    else:
        assert cupel.huggingface.TokenModel(model).info().max_length == LENGTH


def test_what_is_no_causal_language_model_is_refused():
    def built(name, **options):
        cls = getattr(transformers, name)
        return cls(cls.config_class(**SMALL, **options)).eval()

    both_ways = built("BertLMHeadModel", is_decoder=False)
    with pytest.raises(ValueError, match="later ones change them"):
        cupel.huggingface.TokenModel(both_ways)
    with pytest.raises(ValueError, match="the encoder and decoder of a T5"):
        cupel.huggingface.TokenModel(built("T5ForConditionalGeneration", d_model=32))
    with pytest.raises(TypeError, match="a model of transformers is needed. Got Linear"):
        cupel.huggingface.TokenModel(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="weights must be in memory"):
        cupel.huggingface.TokenModel(make("llama").to("meta"))


def test_the_same_weights_score_alike_in_both_libraries(tiny_folder, tmp_path):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, local_files_only=True)
    ours, tokenizer = cupel.load_model(tiny_folder), cupel.load_tokenizer(tiny_folder)
    pairs = [(words(6, seed), " " + words(2, seed + 50)) for seed in range(10)]
    native = cupel.ModelScorer(ours, tokenizer)
    for scorer in (
        cupel.huggingface.Scorer(theirs, tokenizer),
        cupel.ModelScorer(theirs, tokenizer),
        cupel.huggingface.Scorer(theirs, tokenizer, share_prefixes=False, batch_tokens=64),
    ):
        for a, b in zip(scorer.log_likelihood(pairs), native.log_likelihood(pairs), strict=True):
            assert a.value == pytest.approx(b.value, abs=1e-4)
            assert (a.tokens, a.is_greedy) == (b.tokens, b.is_greedy)
        a, b = (s.generate([words(3)], max_new_tokens=10)[0] for s in (scorer, native))
        assert (a.text, a.tokens, a.finish) == (b.text, b.tokens, b.finish)
    assert cupel.huggingface.Scorer(theirs, tokenizer, max_length=40).info().model.max_length == 40
    file = tmp_path / "heldout.txt"
    a, b = (cupel.perplexity(model, tokenizer, file, length=32) for model in (theirs, ours))
    assert a.value == pytest.approx(b.value, rel=1e-5) and a.tokens == b.tokens
