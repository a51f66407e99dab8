"""Quantizers of one's own: a function of (weight, grid, factor) that Grid.clip names."""

import cupel
import pytest
import torch


@pytest.fixture
def register():
    """Registers functions as cupel.quantizer does, and forgets them after the test."""
    before = set(cupel.quantizers())
    yield cupel.quantizer
    for name in set(cupel.quantizers()) - before:
        cupel.remove_quantizer(name)


def mirrored(weight, grid, factor):
    """Scales that reach as far as the largest weight."""
    scales = (2 * weight.abs().amax(1) / (2**grid.bits - 1)).clamp_min(1e-12)
    return scales, torch.full_like(scales, 2 ** (grid.bits - 1))


def methods(**grid):
    grid = cupel.Grid(bits=4, **grid)
    return [
        cupel.Rtn(grid),
        cupel.Gptq(grid),
        cupel.Gptq(grid, order="activation", static_groups=True),
        cupel.SparseGpt(cupel.n_of_m(2, 4), grid=grid),
    ]


@pytest.mark.parametrize("group", [0, 8])
@pytest.mark.parametrize("index", range(4))
def test_it_works_in_every_method(tiny, tokens, register, index, group):
    name = f"test_quantizer_{index}_{group}"
    register(name)(mirrored)
    model = tiny()
    result = cupel.compress(
        model, tokens, methods(clip=name, group=group)[index], keep_tensors=True
    )
    assert f'"clip":"{name}"' in result.options.replace(" ", "")
    for layer in result.layers:
        assert (layer.zeros == 8).all() and layer.bits == 4
        index_of = layer.group_index.long()
        made = (layer.codes - layer.zeros[:, index_of]) * layer.scales[:, index_of]
        assert torch.equal(made, layer.weight)
        assert torch.equal(made, model.state_dict()[f"{layer.name}.weight"])


def test_it_gives_what_the_same_rule_in_the_library_gives(tiny, tokens, register):
    register("test_quantizer_same")(mirrored)
    own = methods(clip="test_quantizer_same", group=8)
    known = methods(clip="min_max", symmetric=True, group=8)
    for pair in zip(own, known, strict=True):
        models = tiny(), tiny()
        for model, method in zip(models, pair, strict=True):
            cupel.compress(model, tokens, method)
        assert models[0].fingerprint() == models[1].fingerprint()


def test_what_it_is_given(register):
    seen = []

    @register("test_quantizer_seen")
    def look(weight, grid, factor):
        seen.append((weight.clone(), grid, factor))
        return mirrored(weight, grid, factor)

    weight, stats = torch.randn(4, 12), cupel.InputStats(12)
    stats.add(torch.randn(50, 12))
    grid = cupel.Grid(bits=3, group=8, clip="test_quantizer_seen")
    cupel.Rtn(grid).compress(weight.bfloat16())
    assert [w.shape[1] for w, _, _ in seen] == [8, 4]  # the last group of a row is short
    assert all(w.dtype == torch.float32 and factor is None for w, _, factor in seen)
    assert seen[0][1].bits == 3 and seen[0][1].group == 8
    assert torch.equal(seen[0][0], weight.bfloat16().float()[:, :8])

    seen.clear()
    cupel.Gptq(cupel.Grid(clip="test_quantizer_seen")).compress(weight, stats)
    [(_, _, factor)] = seen
    hessian = stats.hessian()
    hessian.diagonal().add_(0.01 * hessian.diagonal().mean())
    assert torch.equal(factor, factor.triu())
    assert torch.allclose(factor @ factor.t(), hessian, rtol=1e-4, atol=1e-5)


def test_scales_are_rounded_to_the_dtype_they_are_stored_in(register):
    register("test_quantizer_rounded")(mirrored)
    weight = torch.randn(8, 16)
    grid = cupel.Grid(clip="test_quantizer_rounded", scale_dtype="bfloat16")
    made = cupel.Rtn(grid).compress(weight)
    exact = mirrored(weight, grid, None)[0]
    assert torch.equal(made.scales[:, 0], exact.bfloat16().float())
    assert torch.equal(made.weight, (made.codes - made.zeros) * made.scales)


def test_dtypes_of_what_it_returns_do_not_matter(register):
    register("test_quantizer_wide")(
        lambda *given: (mirrored(*given)[0].double(), mirrored(*given)[1].int())
    )
    register("test_quantizer_plain")(mirrored)
    weight = torch.randn(4, 16)
    made = [
        cupel.Rtn(cupel.Grid(clip=f"test_quantizer_{kind}")).compress(weight)
        for kind in ("wide", "plain")
    ]
    assert torch.equal(made[0].codes, made[1].codes)


@pytest.mark.parametrize(
    "spoil",
    {
        "nothing": lambda scales, zeros: None,
        "a_list": lambda scales, zeros: [scales, zeros],
        "one_tensor": lambda scales, zeros: scales,
        "numbers": lambda scales, zeros: (1.0, 8),
        "lists": lambda scales, zeros: (scales.tolist(), zeros.tolist()),
        "a_column": lambda scales, zeros: (scales[:, None], zeros[:, None]),
        "too_few": lambda scales, zeros: (scales[:-1], zeros),
        "no_scale": lambda scales, zeros: (scales * 0, zeros),
        "negative": lambda scales, zeros: (-scales, zeros),
        "nan_scale": lambda scales, zeros: (scales * torch.nan, zeros),
        "infinite": lambda scales, zeros: (scales * torch.inf, zeros),
        "nan_zero": lambda scales, zeros: (scales, zeros * torch.nan),
        "fraction": lambda scales, zeros: (scales, zeros + 0.5),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_is_no_grid_is_refused_by_name(register, spoil):
    kind, function = spoil
    name = f"test_quantizer_{kind}"
    register(name)(lambda *given: function(*mirrored(*given)))
    method = cupel.Rtn(cupel.Grid(clip=name))
    with pytest.raises((ValueError, cupel.NumericalError), match=name):
        method.compress(torch.randn(4, 8), name="q_proj")


@pytest.mark.parametrize(("shift", "used"), [(100, 15), (-100, 0)])
def test_a_zero_point_outside_is_taken_to_the_edge(register, shift, used):
    name = f"test_quantizer_edge_{used}"
    register(name)(lambda *given: (mirrored(*given)[0], mirrored(*given)[1] + shift))
    made = cupel.Rtn(cupel.Grid(bits=4, clip=name)).compress(torch.randn(4, 8))
    assert (made.zeros == used).all()


def test_a_refused_grid_leaves_the_model_as_it_was(tiny, tokens, register):
    calls = []

    @register("test_quantizer_late")
    def late(weight, grid, factor):
        calls.append(None)
        scales, zeros = mirrored(weight, grid, factor)
        return (scales if len(calls) < 10 else -scales), zeros

    model, before = tiny(), tiny().fingerprint()
    with pytest.raises(cupel.NumericalError, match="layers"):
        cupel.compress(model, tokens, cupel.Gptq(cupel.Grid(clip="test_quantizer_late")))
    assert len(calls) == 10 and model.fingerprint() == before


def test_its_own_exception_comes_back_as_the_same_object(register):
    error = LookupError("nothing there")

    @register("test_quantizer_raises")
    def raises(weight, grid, factor):
        raise error

    with pytest.raises(LookupError) as caught:
        cupel.Rtn(cupel.Grid(clip="test_quantizer_raises")).compress(torch.randn(4, 8))
    assert caught.value is error


def test_a_name_is_registered_once_unless_replaced(register):
    assert register("test_quantizer_twice")(mirrored) is mirrored
    grid = cupel.Grid(clip="test_quantizer_twice")
    with pytest.raises(ValueError, match="replace=True"):
        register("test_quantizer_twice")(mirrored)

    @register("test_quantizer_twice", replace=True)
    def wider(weight, grid, factor):
        scales, zeros = mirrored(weight, grid, factor)
        return 2 * scales, zeros

    weight = torch.randn(4, 8)
    made = cupel.Rtn(grid).compress(weight)  # a grid made before uses the new one
    assert torch.equal(made.scales[:, 0], wider(weight, grid, None)[0])
    cupel.remove_quantizer("test_quantizer_twice")
    with pytest.raises(ValueError, match="unknown quantizer 'test_quantizer_twice'"):
        cupel.Grid(clip="test_quantizer_twice")
