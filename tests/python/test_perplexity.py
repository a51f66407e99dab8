"""The perplexity protocols against transformers, the divergence against SciPy; N25 and N26."""

import json
import math

import cupel
import pytest
import torch
from character_models import CONFIG, both_models, hf_tokenizer, uniform, write_jsonl
from conftest import tiny_state_dict


@torch.no_grad()
def nats(model, ids):
    """-log p of ids[1:] after those before, float64, by transformers."""
    logits = model(torch.tensor([ids[:-1]])).logits[0].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")


def gptq_loop(model, ids, length):
    """The published evaluation: mean loss of each window, the tail left out."""
    losses = [
        float(nats(model, ids[begin : begin + length]).mean())
        for begin in range(0, len(ids) - length + 1, length)
    ]
    return math.exp(sum(losses) / len(losses)), losses


@pytest.mark.parametrize("length", [2, 7, 16, 64])
def test_gptq_equals_a_loop_over_transformers(tmp_path, length):
    ours, theirs = both_models()
    tokenizer = hf_tokenizer()
    text = "The cat sat on a mat, and a rat ran off with its hat.\n" * 12
    (tmp_path / "text.txt").write_text(text)
    value, losses = gptq_loop(theirs, tokenizer.encode(text), length)
    got = cupel.perplexity(ours, tokenizer, tmp_path / "text.txt", length=length)
    assert got.value == pytest.approx(value, rel=1e-6)
    assert got.window_losses == pytest.approx(losses, rel=1e-5)
    assert got.tokens == got.windows * length + got.dropped == len(tokenizer.encode(text))


@pytest.mark.parametrize("length", [64, 512])
def test_gptq_of_a_trained_model_equals_the_loop(shared_path, tmp_path, length):
    transformers = pytest.importorskip("transformers")
    folder = shared_path("models/stories260K")
    text = shared_path("data/tinystories/heldout.txt").read_text("utf-8")[:12000]
    (tmp_path / "text.txt").write_text(text, "utf-8")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = cupel.load_tokenizer(folder)
    value, _ = gptq_loop(theirs, tokenizer.encode(text), length)
    got = cupel.perplexity(
        cupel.load_model(folder), tokenizer, tmp_path / "text.txt", length=length
    )
    assert got.value == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("bos", [True, False])
def test_llamacpp_scores_the_second_half(tmp_path, bos):
    ours, theirs = both_models()
    tokenizer, length = hf_tokenizer(bos), 33
    text = "a tale of the cab that ran about the bay and back at dawn\n" * 4
    (tmp_path / "text.txt").write_text(text)
    ids, losses = tokenizer.encode(text), []
    for begin in range(0, len(ids) - length + 1, length):
        chunk = ids[begin : begin + length]
        if bos:
            chunk[0] = tokenizer.bos_token_id
        losses += nats(theirs, chunk)[length // 2 :].tolist()
    got = cupel.perplexity(
        ours, tokenizer, tmp_path / "text.txt", protocol="llamacpp", length=length
    )
    assert got.scored == len(losses) == got.windows * (length - 1 - length // 2)
    assert got.value == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-6)
    assert got.notes == ([f"{got.windows - 1} tokens gave way to BOS."] if bos else [])


@pytest.mark.parametrize("length, stride", [(16, 0), (16, 5), (16, 15), (64, 1), (64, 40)])
def test_strided_scores_every_token_once(tmp_path, length, stride):
    ours, theirs = both_models()
    tokenizer = hf_tokenizer()
    text = "the dog ate the bat; the bat was glad of it.\n" * 3
    (tmp_path / "text.txt").write_text(text)
    ids, losses, before = tokenizer.encode(text), [], 0
    for begin in range(0, len(ids), stride or length // 2):  # as the documentation's loop
        end = min(begin + length, len(ids))
        losses += nats(theirs, ids[begin:end])[-(end - before) :].tolist()
        before = end
        if end == len(ids):
            break
    got = cupel.perplexity(
        ours, tokenizer, tmp_path / "text.txt", protocol="strided", length=length, stride=stride
    )
    assert got.scored == len(losses) == got.tokens - 1
    assert got.value == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-6)


def test_n25_equal_logits_give_the_vocabulary(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat " * 9)
    for protocol in ("gptq", "harness", "llamacpp", "strided"):
        got = cupel.perplexity(
            uniform(), hf_tokenizer(), tmp_path / "text.txt", protocol=protocol, length=20
        )
        assert got.value == pytest.approx(128, rel=1e-6), protocol
        assert math.isnan(got.word_perplexity) == (protocol != "harness")


def test_n25_texts_that_do_not_work(tmp_path):
    tokenizer = hf_tokenizer(bos=False)
    file = tmp_path / "text.txt"

    def refused(text, rule, error=ValueError, **options):
        file.write_text(text)
        with pytest.raises(error, match=rule):
            cupel.perplexity(uniform(), tokenizer, file, **options)

    for protocol in ("gptq", "harness", "llamacpp", "strided"):
        refused("", "the file is empty", cupel.FormatError, protocol=protocol)
        refused("kalo" * 99, r"length lies in \[., 64\]", protocol=protocol, length=65)
    refused("k", "must fill one window of 64", protocol="gptq")
    refused("k", "must fill two windows of 64", protocol="llamacpp")
    refused("k", "must have two tokens. Got 1", protocol="strided")
    # For the harness one token is enough, since BOS comes first.
    assert cupel.perplexity(uniform(), tokenizer, file, protocol="harness").scored == 1


def test_n25_what_is_not_finite_is_named(tmp_path):
    weights = tiny_state_dict(CONFIG)
    tokenizer = hf_tokenizer(bos=False)
    weights["model.embed_tokens.weight"][tokenizer.encode("z")[0]] = float("nan")
    model = cupel.make_model(json.dumps(CONFIG), weights)
    (tmp_path / "text.txt").write_text("kalo" * 5 + "kazo" + "kalo")
    with pytest.raises(cupel.NumericalError, match=r"Got nan in window 5 of text\.txt"):
        cupel.perplexity(model, tokenizer, tmp_path / "text.txt", length=4)
    file = write_jsonl(tmp_path / "pages.jsonl", ["", "kalo", "zo"])
    with pytest.raises(cupel.NumericalError, match=r"Got nan in document 2 of pages\.jsonl"):
        cupel.perplexity(model, tokenizer, file, protocol="harness")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_n26_large_logits(tmp_path, dtype):
    tokenizer = hf_tokenizer()
    weights = {name: tensor.to(dtype) for name, tensor in tiny_state_dict(CONFIG).items()}
    weights["lm_head.weight"] *= 3000
    model = cupel.make_model(json.dumps(CONFIG | {"torch_dtype": str(dtype)[6:]}), weights)
    text = "the cat sat on the mat " * 4
    (tmp_path / "text.txt").write_text(text)
    ids = torch.tensor(tokenizer.encode(text)[:32])
    # The very logits that are summed: 16-bit weights of 3000 make much of another pass's rounding.
    rows = list(range(31))
    logits = cupel.NativeTokenModel(model).logits(ids[:-1].tolist(), rows).double()
    assert 9e3 < float(logits.abs().max()) < 6e4
    wanted = torch.nn.functional.cross_entropy(logits, ids[1:])
    got = cupel.perplexity(model, tokenizer, tmp_path / "text.txt", length=32).window_losses[0]
    assert got == pytest.approx(float(wanted), rel=1e-5)


def test_bos_can_be_left_out_or_forced(tmp_path):
    (tmp_path / "text.txt").write_text("kalo" * 5)
    for adds in (True, False):
        for bos, tokens in (("auto", 20 + adds), ("always", 21), ("never", 20)):
            got = cupel.perplexity(
                uniform(), hf_tokenizer(adds), tmp_path / "text.txt", length=4, bos=bos
            )
            assert got.tokens == tokens and got.bos == bos
    got = cupel.perplexity(
        uniform(), hf_tokenizer(), tmp_path / "text.txt", protocol="harness", bos="never"
    )
    assert (got.scored, got.notes) == (20, [])  # begins with one BOS, which is not scored


def test_progress_can_stop_every_protocol(tmp_path):
    (tmp_path / "text.txt").write_text("kalo" * 100)
    for protocol in ("gptq", "harness", "llamacpp", "strided"):
        with pytest.raises(KeyboardInterrupt):
            cupel.perplexity(
                uniform(),
                hf_tokenizer(),
                tmp_path / "text.txt",
                protocol=protocol,
                progress=lambda progress: False,
            )


def test_divergence_equals_scipy(tmp_path):
    special = pytest.importorskip("scipy.special")
    import numpy

    dense, _ = both_models()
    weights = tiny_state_dict(CONFIG)
    generator = torch.Generator().manual_seed(3)
    for name in list(weights):
        if name.endswith("proj.weight"):
            weights[name] += 0.1 * torch.randn(weights[name].shape, generator=generator)
    compressed = cupel.make_model(json.dumps(CONFIG), weights)
    tokenizer, length = hf_tokenizer(), 20
    text = "the cat sat on the mat and the dog ate the bat\n" * 4
    (tmp_path / "text.txt").write_text(text)
    got = cupel.divergence(dense, compressed, tokenizer, tmp_path / "text.txt", length=length)

    ids = torch.tensor(tokenizer.encode(text))
    ids = ids[: len(ids) // length * length].reshape(-1, length)
    p, q = (
        special.softmax(m.logits(ids)[:, :-1].double().numpy(), -1) for m in (dense, compressed)
    )
    kl = special.rel_entr(p, q).sum(-1)
    true = ids[:, 1:, None].numpy()
    delta = numpy.take_along_axis(q - p, true, -1)
    assert got.mean_kl == pytest.approx(kl.mean(), rel=1e-5) and kl.mean() > 1e-3
    assert got.median_kl == pytest.approx(numpy.median(kl), rel=1e-5)
    assert got.p99_kl == pytest.approx(numpy.quantile(kl, 0.99), rel=1e-5)
    assert got.max_kl == pytest.approx(kl.max(), rel=1e-5)
    assert got.window_kl == pytest.approx(kl.mean(1), rel=1e-5)
    error = kl.mean(1).std(ddof=1) / math.sqrt(len(kl))
    assert got.kl_standard_error == pytest.approx(error, rel=1e-4)
    assert got.top1_agreement == (p.argmax(-1) == q.argmax(-1)).mean() < 1
    assert got.delta_p_mean == pytest.approx(delta.mean(), rel=1e-4, abs=1e-8)
    assert got.delta_p_rms == pytest.approx(math.sqrt((delta**2).mean()), rel=1e-5)
    first, second = (
        cupel.perplexity(m, tokenizer, tmp_path / "text.txt", length=length)
        for m in (dense, compressed)
    )
    assert got.log_ratio == pytest.approx(math.log(second.value / first.value), rel=1e-5)
    differences = numpy.array(second.window_losses) - numpy.array(first.window_losses)
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    assert got.log_ratio_standard_error == pytest.approx(error, rel=1e-4)


def test_divergence_from_itself_is_zero(tmp_path):
    (tmp_path / "text.txt").write_text("kalo" * 50)
    model, _ = both_models()
    got = cupel.divergence(model, model, hf_tokenizer(), tmp_path / "text.txt", length=16)
    assert (got.mean_kl, got.max_kl, got.top1_agreement, got.delta_p_rms) == (0, 0, 1, 0)
    assert got.log_ratio == 0


def test_divergence_walks_a_window_in_parts(tmp_path):
    # The logits of 39 tokens are more than is held at once.
    config = CONFIG | {"vocab_size": 300_000, "hidden_size": 8, "intermediate_size": 8}
    config |= {"num_attention_heads": 1, "num_key_value_heads": 1}
    dense, compressed = (
        cupel.make_model(json.dumps(config), tiny_state_dict(config, seed)) for seed in (0, 1)
    )
    tokenizer = hf_tokenizer()
    text = "the cat sat on the mat and the dog ate the bat"
    (tmp_path / "text.txt").write_text(text)
    got = cupel.divergence(dense, compressed, tokenizer, tmp_path / "text.txt", length=40)
    ids = torch.tensor(tokenizer.encode(text)[:40])
    p, q = (m.logits(ids[None, :-1])[0].double().log_softmax(-1) for m in (dense, compressed))
    wanted = (p.exp() * (p - q)).sum(-1)
    assert got.mean_kl == pytest.approx(float(wanted.mean()), rel=1e-5)
    assert got.max_kl == pytest.approx(float(wanted.max()), rel=1e-5)
    change = (p - q).gather(1, ids[1:, None]).mean()
    assert got.log_ratio == pytest.approx(float(change), rel=1e-5)
