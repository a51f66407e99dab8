"""What the sweeps are for: less output error than methods that take no heed of the inputs."""

import cupel
import textbook
import torch
from small_layers import ALL, layer, stats_of


def solve(method, weight, x):
    return ALL[method].compress(weight, stats_of(x))


def test_sweeps_beat_what_takes_no_heed_of_inputs():
    lost = {"sparsegpt": 0, "gptq": 0}
    for seed in range(1000):
        rows, columns = 4 + seed % 21, 8 + seed % 57
        tokens = 2 * columns + seed % 50
        weight, x = layer(rows, columns, tokens, seed, correlated=seed % 2 > 0)
        grid = cupel.Grid(bits=3 + seed // 2 % 2)
        gptq = cupel.Gptq(grid).compress(weight, stats_of(x)).relative_error
        lost["gptq"] += gptq > cupel.Rtn(grid).compress(weight, stats_of(x)).relative_error
        made = solve("sparsegpt", weight, x)
        if made.relative_error > solve("magnitude", weight, x).relative_error:
            lost["sparsegpt"] += 1
            # The method is greedy, so it can lose; but not where the textbook does not.
            expected = textbook.sparsegpt(weight, textbook.hessian([x]), 0.5, rules="exact")
            error = textbook.relative_error(weight, expected.weight, x)
            assert made.relative_error <= error * (1 + 1e-4), seed
    # Of layers as narrow as these, half of them with white noise for inputs, the textbook too loses 1
    # to 2 in a hundred.
    assert lost["gptq"] <= 10 and lost["sparsegpt"] <= 20, lost


def test_sweeps_beat_what_takes_no_heed_of_inputs_that_share_few_directions():
    # What the inputs of trained models look like, and what the methods are for.
    lost = {"sparsegpt": 0, "gptq": 0}
    for seed in range(1000):
        generator = torch.Generator().manual_seed(seed)
        rows, columns, tokens = 8 + seed % 41, 8 + seed % 57, 32 + 2 * (8 + seed % 57)
        directions = torch.randn(columns // 4, columns, generator=generator)
        x = torch.randn(tokens, columns // 4, generator=generator) @ directions
        x += 0.3 * torch.randn(tokens, columns, generator=generator)
        weight = torch.randn(rows, columns, generator=generator)
        grid = cupel.Grid(bits=3 + seed % 2)
        for name, plain, method in (
            ("sparsegpt", ALL["magnitude"], ALL["sparsegpt"]),
            ("gptq", cupel.Rtn(grid), cupel.Gptq(grid)),
        ):
            errors = [m.compress(weight, stats_of(x)).relative_error for m in (method, plain)]
            lost[name] += errors[0] > errors[1]
    assert lost["gptq"] <= 10 and lost["sparsegpt"] <= 10, lost
