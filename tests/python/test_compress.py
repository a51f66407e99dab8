"""compress() from Python: what is pruned, what users bring themselves, and what happens when it stops."""

import json

import cupel
import pytest
import torch


def copy(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def linears(model):
    state = model.state_dict()
    return {name: state[f"{name}.weight"] for name in model.linear_names()}


def same(model, before):
    after = model.state_dict()
    return after.keys() == before.keys() and all(torch.equal(after[n], before[n]) for n in before)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
def test_zeros_are_exactly_as_many_as_asked(tiny, tokens, criterion, sparsity):
    model = tiny()
    compressor = cupel.Prune(criterion, cupel.unstructured(sparsity))
    result = cupel.compress(model, tokens, compressor)
    zeros = total = 0
    for name, weight in linears(model).items():
        rows, columns = weight.shape
        if criterion == "magnitude":
            assert (weight == 0).sum() == int(sparsity * weight.numel()), name
        else:
            assert ((weight == 0).sum(1) == int(sparsity * columns)).all(), name
        zeros += int((weight == 0).sum())
        total += rows * columns
    assert result.weights == total
    assert result.sparsity == pytest.approx(zeros / total)


@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4)])
def test_n_of_m_holds_in_every_group(tiny, tokens, criterion, n, m):
    model = tiny()
    cupel.compress(model, tokens, cupel.Prune(criterion, cupel.n_of_m(n, m)))
    for name, weight in linears(model).items():
        kept = (weight.view(weight.shape[0], -1, m) != 0).sum(-1)
        assert (kept == n).all(), name


def test_everything_outside_of_the_linears_is_left_alone(tiny, tokens):
    model = tiny()
    before = copy(model)
    cupel.compress(model, tokens, cupel.Prune("wanda", cupel.unstructured(0.5)))
    changed = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert changed == {f"{name}.weight" for name in model.linear_names()}


def test_dead_inputs_are_pruned_first():
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    x[:, [1, 6]] = 0
    stats = cupel.InputStats(8)
    stats.add(x)
    made = cupel.Prune("wanda", cupel.unstructured(0.25)).compress(torch.randn(4, 8) + 9, stats)
    assert made.dead_columns == 2
    assert not made.mask[:, [1, 6]].any() and made.mask.sum() == 4 * 6


def test_loss_and_relative_error_are_what_the_conventions_say():
    torch.manual_seed(0)
    x, weight = torch.randn(40, 12), torch.randn(6, 12)
    stats = cupel.InputStats(12)
    stats.add(x[:15])
    stats.add(x[15:].view(5, 5, 12))
    made = cupel.Prune("wanda", cupel.unstructured(0.5)).compress(weight, stats)
    error = (x.double() @ (made.weight - weight).double().T).square().sum()
    assert made.tokens == 40
    assert made.loss == pytest.approx(float(error) / 40, rel=1e-5)
    expected = float(error / (x.double() @ weight.double().T).square().sum())
    assert made.relative_error == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rtn_weights_are_what_codes_scales_and_zeros_say(tiny, bits):
    model = tiny()
    grid = cupel.Grid(bits=bits, group=16)
    result = cupel.compress(model, None, cupel.Rtn(grid), keep_tensors=True)
    weights = linears(model)
    for layer in result.layers:
        group = layer.group_index.long()
        restored = (layer.codes - layer.zeros[:, group]) * layer.scales[:, group]
        assert torch.equal(restored, weights[layer.name]), layer.name
        assert int(layer.codes.max()) < 2**bits and layer.bits == bits
        assert layer.loss is None and layer.relative_error is None


def test_quantizing_a_pruned_model_keeps_its_zeros(tiny, tokens):
    model = tiny()
    cupel.compress(model, tokens, cupel.Prune("wanda", cupel.n_of_m(2, 4)))
    pruned = {name: weight == 0 for name, weight in linears(model).items()}
    cupel.compress(model, None, cupel.Rtn(cupel.Grid(bits=4, group=16)))
    for name, weight in linears(model).items():
        assert (weight[pruned[name]] == 0).all(), name


def test_own_criterion_by_a_factor_of_each_column():
    torch.manual_seed(3)
    weight, stats = torch.randn(9, 16), cupel.InputStats(16)
    stats.add(torch.randn(40, 16))

    def no_scores(weight, stats):
        raise AssertionError("a factor is enough")

    own = cupel.Criterion(
        "own", "sq_norm", no_scores, column_factor=lambda stats: stats.sq_norm().sqrt()
    )
    for pattern in (cupel.unstructured(0.4), cupel.n_of_m(2, 4)):
        made = cupel.Prune(own, pattern).compress(weight, stats)
        assert torch.equal(made.mask, cupel.Prune("wanda", pattern).compress(weight, stats).mask)
    other = cupel.Criterion("other", "none", no_scores, column_factor=lambda stats: torch.ones(3))
    with pytest.raises(ValueError, match=r"one factor a column. Got \[3\]"):
        cupel.Prune(other, cupel.unstructured(0.4)).compress(weight, stats)


def test_shared_factors_change_nothing():
    torch.manual_seed(4)
    stats, factors = cupel.InputStats(32), cupel.SharedFactors()
    stats.add(torch.randn(80, 32))
    method = cupel.Gptq(cupel.Grid(bits=3))
    for _ in range(3):
        weight = torch.randn(8, 32)
        made = method.compress(weight, stats, shared=factors)
        assert torch.equal(made.codes, method.compress(weight, stats).codes)
        assert made.damping == 0.01


def test_own_criterion_in_python_is_wanda_when_it_says_what_wanda_says(tiny, tokens):
    @cupel.criterion("test_compress_wanda", needs="sq_norm")
    def own(weight, stats):
        assert weight.dtype == torch.float32
        return weight.abs() * stats.sq_norm().sqrt()

    try:
        models = [tiny() for _ in range(3)]
        for model, criterion in zip(models, ("wanda", "test_compress_wanda", own), strict=True):
            cupel.compress(model, tokens, cupel.Prune(criterion, cupel.unstructured(0.5)))
        assert same(models[1], copy(models[0]))
        assert same(models[2], copy(models[0]))
    finally:
        cupel.remove_criterion("test_compress_wanda")


def test_only_the_statistics_that_are_asked_for_are_there():
    asks = cupel.Criterion("greedy", "sum", lambda weight, stats: weight * stats.gram().diag())
    stats = cupel.InputStats(4, cupel.Needs.sum)
    stats.add(torch.ones(3, 4))
    with pytest.raises(ValueError, match="gram"):
        cupel.Prune(asks, cupel.unstructured(0.5)).compress(torch.ones(2, 4), stats)


class Halve(cupel.Compressor):
    """Halves every weight, and does nothing else."""

    name = "halve"
    needs = "sq_norm"

    def __init__(self):
        super().__init__()
        self.seen = []

    def compress(self, task):
        self.seen.append((task.name, task.stats.tokens()))
        self.task = task
        made = cupel.LayerResult(task.weight / 2)
        cupel.finish_result(task, made)
        return made


def test_own_compressor(tiny, tokens):
    model = tiny()
    before = copy(model)
    compressor = Halve()
    result = cupel.compress(model, tokens, compressor)
    assert result.method == "halve"
    assert compressor.seen == [(name, tokens.numel()) for name in model.linear_names()]
    for name, weight in linears(model).items():
        assert torch.equal(weight, before[f"{name}.weight"] / 2)
    # A task may be kept: it does not point into the call that it was made for.
    task = compressor.task
    assert task.name == model.linear_names()[-1] and task.mask is None
    assert torch.equal(task.weight, before[f"{task.name}.weight"])
    assert float(task.stats.sq_norm().min()) > 0
    # ||X (W/2) ^T||^2 / ||X W^T||^2
    assert all(layer.relative_error == pytest.approx(0.25, rel=1e-4) for layer in result.layers)


class Own(Exception):
    pass


def test_an_exception_of_the_users_code_comes_back_as_itself(tiny, tokens):
    raised = Own("mine")

    def score(weight, stats):
        if weight.shape == (32, 88):  # not the first layer
            raise raised
        return weight.abs()

    model = tiny()
    before = copy(model)
    criterion = cupel.Criterion("raises", "none", score)
    with pytest.raises(Own) as caught:
        cupel.compress(model, tokens, cupel.Prune(criterion, cupel.unstructured(0.5)))
    assert caught.value is raised
    assert same(model, before)


def test_a_criterion_of_another_shape_or_nan_is_named(tiny, tokens):
    model = tiny()
    before = copy(model)
    narrow = cupel.Criterion("narrow", "none", lambda weight, stats: weight[:, :-1])
    with pytest.raises(ValueError, match=r"narrow.*\[32, 31\].*q_proj"):
        cupel.compress(model, tokens, cupel.Prune(narrow, cupel.unstructured(0.5)))
    nothing = cupel.Criterion("nothing", "none", lambda weight, stats: weight * float("nan"))
    with pytest.raises(cupel.NumericalError, match="q_proj"):
        cupel.compress(model, tokens, cupel.Prune(nothing, cupel.unstructured(0.5)))
    assert same(model, before)


@pytest.mark.parametrize("propagation", ["staged", "block", "dense"])
def test_progress_that_says_false_interrupts_and_leaves_the_model_as_it_was(
    tiny, tokens, propagation
):
    seen = []

    def stop_late(progress):
        if progress.layer_done:
            seen.append(progress)
        return len(seen) < 9

    model = tiny()
    before = copy(model)
    compressor = cupel.Prune("wanda", cupel.unstructured(0.5))
    with pytest.raises(KeyboardInterrupt):
        cupel.compress(model, tokens, compressor, propagation=propagation, progress=stop_late)
    assert same(model, before)
    assert [p.done for p in seen] == list(range(1, 10))
    assert {p.total for p in seen} == {14}
    assert [p.name for p in seen] == model.linear_names()[:9]
    assert all(p.loss >= 0 for p in seen)


def test_an_exception_of_progress_comes_back_as_itself(tiny, tokens):
    def fail(progress):
        raise Own

    with pytest.raises(Own):
        cupel.compress(tiny(), tokens, cupel.Rtn(cupel.Grid()), progress=fail)


def test_skip_and_only(tiny, tokens):
    model = tiny()
    before = copy(model)
    result = cupel.compress(
        model,
        tokens,
        cupel.Prune("magnitude", cupel.unstructured(0.5)),
        only=["*.mlp.*", "model.layers.1.self_attn.q_proj"],
        skip=[r"re:model\.layers\.0\."],
    )
    names = [layer.name for layer in result.layers]
    expected = {f"model.layers.1.mlp.{n}_proj" for n in ("gate", "up", "down")}
    assert set(names) == expected | {"model.layers.1.self_attn.q_proj"}
    assert set(result.skipped) == set(model.linear_names()) - set(names)
    for name, weight in linears(model).items():
        assert torch.equal(weight, before[f"{name}.weight"]) == (name not in names)


@pytest.mark.parametrize("option", ["skip", "only"])
def test_a_pattern_that_matches_nothing_is_an_error(tiny, tokens, option):
    with pytest.raises(ValueError, match="lm_head"):
        compressor = cupel.Prune("magnitude", cupel.unstructured(0.5))
        cupel.compress(tiny(), tokens, compressor, **{option: ["lm_head"]})


def test_calibration_may_be_a_tensor_a_list_or_nested_lists(tiny, tokens):
    compressor = cupel.Prune("wanda", cupel.unstructured(0.5))
    results, states = [], []
    for given in (tokens, list(tokens), tokens.tolist(), cupel.Calibration(tokens)):
        model = tiny()
        results.append(cupel.compress(model, given, compressor))
        states.append(copy(model))
    assert len({result.calibration_hash for result in results}) == 1
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in state)


def test_samples_of_different_lengths_are_all_seen(tiny, tokens):
    ragged = [tokens[0], tokens[1, :5], tokens[2, :17]]
    result = cupel.compress(tiny(), ragged, cupel.Prune("wanda", cupel.unstructured(0.5)))
    assert {layer.tokens for layer in result.layers} == {32 + 5 + 17}


@pytest.mark.parametrize("given", [None, [], torch.zeros(0, 4, dtype=torch.int64)])
def test_a_method_that_needs_text_says_so(tiny, given):
    with pytest.raises((ValueError, cupel.NumericalError), match="wanda|sample"):
        cupel.compress(tiny(), given, cupel.Prune("wanda", cupel.unstructured(0.5)))


def test_to_json_holds_what_was_done(tiny, tokens):
    result = cupel.compress(tiny(), tokens, cupel.Prune("wanda", cupel.n_of_m(2, 4)))
    record = json.loads(result.to_json())
    assert record["options"]["criterion"] == "wanda" and record["options"]["pattern"] == "2:4"
    assert record["calibration"]["tokens"] == tokens.numel()
    assert [layer["name"] for layer in record["layers"]] == [layer.name for layer in result.layers]
    assert "published" not in result.to_json()


def test_compressing_twice_gives_the_same_bytes(tiny, tokens):
    models = [tiny(), tiny()]
    for model in models:
        cupel.compress(model, tokens, cupel.Prune("wanda", cupel.unstructured(0.5)))
    assert models[0].fingerprint() == models[1].fingerprint()


def test_from_folder_to_folder_is_the_same_as_in_memory(tiny, tokens, tmp_path):
    cupel.save_model(tiny(), tmp_path / "dense")
    compressor = cupel.Prune("wanda", cupel.unstructured(0.5))
    model = cupel.load_model(tmp_path / "dense")
    cupel.compress(model, tokens, compressor)
    result = cupel.compress_checkpoint(tmp_path / "dense", tokens, compressor, tmp_path / "half")
    assert cupel.load_model(tmp_path / "half").fingerprint() == model.fingerprint()
    assert result.sparsity == 0.5
    record = json.loads((tmp_path / "half" / "cupel.json").read_text())
    assert record["compression"][0]["calibration"]["hash"] == result.calibration_hash


def test_an_interrupted_checkpoint_leaves_nothing(tiny, tokens, tmp_path):
    cupel.save_model(tiny(), tmp_path / "dense")
    compressor = cupel.Prune("wanda", cupel.unstructured(0.5))
    with pytest.raises(KeyboardInterrupt):
        cupel.compress_checkpoint(
            tmp_path / "dense", tokens, compressor, tmp_path / "half", progress=lambda p: p.done < 9
        )
    assert not (tmp_path / "half").exists()
