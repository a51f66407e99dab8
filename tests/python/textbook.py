"""Each method as its paper's code computes it, in plain PyTorch, with nothing of cupel's in it.

The tests hold the C++ solvers against this file, and this file against what the published code made
of seeded layers (test_textbook.py). The benchmarks use it as the rival that a researcher would write:
rows in one go, a loop over columns, float32, and no step slower than in the published code.

GPTQ (Frantar et al., arXiv 2210.17323), SparseGPT (Frantar and Alistarh, arXiv 2301.00774), Wanda
(Sun et al., arXiv 2306.11695), RIA (Zhang et al., ICLR 2024). Written from the papers.

Letters: W weight [out, in], X inputs [tokens, in], H = 2/N sum x x^T [in, in] over N sequences,
U upper triangular with U^T U = H^-1. Masks are bool, true = keep. prune_n counts zeros of every
prune_m, as in the papers.

rules="published" is what the papers' code does: `<=` thresholds, dead inputs (H_jj = 0) given a
diagonal of 1 and weights of 0, symmetric grids that only mirror rows with a negative weight.
rules="exact" is cupel's default: exact counts where ties keep the lower index, dead inputs that take
no part, every row mirrored.
"""

from dataclasses import dataclass

import torch


@dataclass
class Layer:
    """What a method made of a weight; None where it does not apply."""

    weight: torch.Tensor  # [out, in]
    mask: torch.Tensor | None = None  # [out, in], true = keep
    scales: torch.Tensor | None = None  # [out, groups]
    zeros: torch.Tensor | None = None  # [out, groups]
    group_index: torch.Tensor | None = None  # [in], in the weight's own order of columns
    permutation: torch.Tensor | None = None  # [in], the order in which columns were treated
    loss: float | None = None  # half the sum of squared errors e, which is 1/2 tr(dW H dW^T)


# --- statistics and measures ---------------------------------------------------------------------


def hessian(sequences):
    """2/N * sum x x^T over N sequences [tokens, in]; the lengths may differ."""
    total, count = 0, 0
    for x in sequences:
        x = x.reshape(-1, x.shape[-1]).float()
        total = torch.addmm(total, x.t(), x) if count else x.t() @ x
        count += 1
    return total * (2 / count)


def relative_error(W, quantized, x):
    """||X (W - Q)^T||^2 / ||X W^T||^2, in double."""
    W, quantized, x = W.double(), quantized.double(), x.double()
    return float((x @ (W - quantized).t()).square().sum() / (x @ W.t()).square().sum())


# --- grids ---------------------------------------------------------------------------------------


def weight_range(w, symmetric=False, rules="published"):
    """Lowest and highest value of each row, stretched to hold 0."""
    low, high = w.amin(1).clamp(max=0), w.amax(1).clamp(min=0)
    if symmetric:
        high = torch.maximum(low.abs(), high)
        low = -high if rules == "exact" else torch.where(low < 0, -high, low)
    if rules == "published":
        flat = (low == 0) & (high == 0)
        low, high = low.masked_fill(flat, -1), high.masked_fill(flat, 1)
    return low, high


def range_grid(low, high, bits, symmetric=False):
    """Scale and zero point that cut [low, high] into 2^bits - 1 steps."""
    scale = (high - low) / (2**bits - 1)
    scale = scale.masked_fill(scale == 0, 1)  # an all-zero row, by the exact rules
    zero = torch.full_like(scale, 2 ** (bits - 1)) if symmetric else torch.round(-low / scale)
    return scale, zero


def mse_grid(w, low, high, bits, symmetric=False, norm=2.4, grid=100, maxshrink=0.8):
    """Of ranges shrunk to p [low, high], p = 1, 0.99, ..., that with the least sum |q - w|^norm."""
    least, scale, zero = low.new_full(low.shape, torch.inf), *range_grid(low, high, bits, symmetric)
    for step in range(int(maxshrink * grid)):
        p = 1 - step / grid
        s, z = range_grid(p * low, p * high, bits, symmetric)
        error = (quantize(w, s[:, None], z[:, None], bits) - w).abs_().pow_(norm).sum(1)
        better = error < least
        least[better], scale[better], zero[better] = error[better], s[better], z[better]
    return scale, zero


def fit_grid(w, bits, symmetric=False, mse=False, rules="published"):
    """(scale [out], zero [out]) of the columns w [out, columns], which share a grid in each row."""
    low, high = weight_range(w, symmetric, rules)
    if mse:
        return mse_grid(w, low, high, bits, symmetric)
    return range_grid(low, high, bits, symmetric)


def quantize(w, scale, zero, bits):
    """The nearest value of the grid, half to even."""
    return scale * (torch.clamp(torch.round(w / scale) + zero, 0, 2**bits - 1) - zero)


def fit_groups(W, bits, group, symmetric, mse, rules):
    """A grid for every `group` columns: scales and zeros [out, groups]."""
    fitted = [fit_grid(part, bits, symmetric, mse, rules) for part in W.split(group, dim=1)]
    return torch.stack([f[0] for f in fitted], 1), torch.stack([f[1] for f in fitted], 1)


def rtn(W, bits, group=0, symmetric=False, mse=False, rules="published"):
    """Round to nearest. group 0 = one grid for each row."""
    W = W.float()
    group = group or W.shape[1]
    scales, zeros = fit_groups(W, bits, group, symmetric, mse, rules)
    index = torch.arange(W.shape[1], device=W.device) // group
    weight = quantize(W, scales[:, index], zeros[:, index], bits)
    return Layer(weight, scales=scales, zeros=zeros, group_index=index)


# --- masks ---------------------------------------------------------------------------------------


def keep_all_but(scores, count, ties="high"):
    """Prunes the `count` lowest of each row. Of equal scores the higher ("high") columns go first,
    or the lower ("low"), as in a stable ascending sort."""
    keep = torch.ones_like(scores, dtype=torch.bool)
    if ties == "low":
        return keep.scatter_(1, scores.argsort(dim=1, stable=True)[:, :count], False)
    order = scores.flip(1).argsort(dim=1, stable=True)[:, :count]
    return keep.scatter_(1, scores.shape[1] - 1 - order, False)


def keep_above_threshold(scores, sparsity):
    """The published rule: what is `<=` the sorted scores at index int(sparsity * size) goes, one
    weight more than asked and every weight equal to it."""
    index = int(scores.numel() * sparsity)
    return scores > scores.flatten().kthvalue(index + 1).values


def n_of_m_mask(scores, prune_n, prune_m, rules="published"):
    """Prunes the prune_n lowest of every prune_m consecutive columns."""
    groups = scores.reshape(-1, prune_m)
    return keep_all_but(groups, prune_n, "low" if rules == "published" else "high").view_as(scores)


def row_mask(scores, sparsity=0.0, prune_n=0, prune_m=0, rules="published"):
    """n:m, or int(sparsity * columns) of each row."""
    if prune_n:
        return n_of_m_mask(scores, prune_n, prune_m, rules)
    count = int(scores.shape[1] * sparsity)
    return keep_all_but(scores, count, "low" if rules == "published" else "high")


def magnitude_mask(W, sparsity=0.0, prune_n=0, prune_m=0, rules="published"):
    """|w|, compared over the whole matrix."""
    scores = W.abs()
    if prune_n:
        return n_of_m_mask(scores, prune_n, prune_m, rules)
    if rules == "published":
        return keep_above_threshold(scores, sparsity)
    return keep_all_but(scores.view(1, -1), int(scores.numel() * sparsity)).view_as(scores)


def wanda_mask(W, sq_norm, sparsity=0.0, prune_n=0, prune_m=0, rules="published"):
    """|w| * ||x||_2, compared within each row. sq_norm [in] is sum x^2, up to a factor."""
    return row_mask(W.abs() * sq_norm.sqrt(), sparsity, prune_n, prune_m, rules)


def ria_scores(W, sq_norm, power=0.5):
    """A weight's share of its column and of its row, times ||x||_2^power."""
    w = W.abs()
    return (w / w.sum(0) + w / w.sum(1, keepdim=True)) * sq_norm.sqrt().pow(power)


# --- the sweep over columns ----------------------------------------------------------------------


def damped(H, percdamp, rules="published"):
    """H with percdamp * mean(diag H) added to its diagonal, and which inputs are dead."""
    H, dead = H.float().clone(), H.diagonal() == 0
    if rules == "published":
        H.diagonal()[dead] = 1
    H.diagonal().add_(percdamp * H.diagonal().mean())
    return H, dead


def inverse_factor(H):
    """U, by the published route."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(H))
    return torch.linalg.cholesky(inverse, upper=True)


def sweep(W, U, block, begin, choose):
    """Replaces the columns of W from left to right and spreads each one's error over those to come.

    begin(start, stop, w, u) is called with each block's weights as the blocks before left them,
    choose(j, i, w, u) for each column j: what w[:, i] becomes. W changes at a block's end only.
    Returns half the sum of squared errors.
    """
    columns, loss = W.shape[1], 0.0
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        w, u = W[:, start:stop].clone(), U[start:stop, start:stop].contiguous()
        errors = torch.empty_like(w)
        begin(start, stop, w, u)
        for i in range(stop - start):
            chosen = choose(start + i, i, w, u)
            error = (w[:, i] - chosen) / u[i, i]
            w[:, i + 1 :].addcmul_(error[:, None], u[i, i + 1 :], value=-1)
            w[:, i], errors[:, i] = chosen, error
        W[:, start:stop] = w
        W[:, stop:] -= errors @ U[start:stop, stop:]
        loss += errors.square().sum() / 2
    return float(loss)


def gptq(
    W,
    H,
    bits,
    group=0,
    symmetric=False,
    block=128,
    percdamp=0.01,
    order="none",
    static_groups=False,
    mse=False,
    rules="published",
):
    """Quantizes column by column. group 0 = one grid for each row.

    A group's grid is fitted when its first column is reached, on the weights as they stood when the
    current block began; static groups and whole rows before the sweep. order="activation" treats the
    columns by falling H_jj; without static groups, groups then are runs of the new order.
    """
    W, columns = W.float().clone(), W.shape[1]
    H, dead = damped(H, percdamp, rules)
    loss = 0.0
    if rules == "exact":  # to zero in the sweep, where nothing but the damping weighs the error
        loss = float((W[:, dead].square() * H.diagonal()[dead]).sum()) / 2
        W[:, dead] = 0
    before = not group or static_groups
    if not group:  # the published code looks at dead weights too here
        scales, zeros = fit_groups(W, bits, columns, symmetric, mse, rules)
    W[:, dead] = 0
    if group and static_groups:
        scales, zeros = fit_groups(W, bits, group, symmetric, mse, rules)
    elif group:
        scales = W.new_empty(W.shape[0], -(-columns // group))
        zeros = torch.empty_like(scales)
    group = group or columns

    permutation = torch.arange(columns, device=W.device)
    if order == "activation":
        # Published: not stable. Equal diagonals are rare but for dead columns.
        permutation = H.diagonal().argsort(descending=True, stable=rules == "exact")
        W, H = W[:, permutation], H[permutation][:, permutation]
    index = (permutation if before else torch.arange(columns, device=W.device)) // group
    group_of = index.tolist()

    def choose(j, i, w, u):
        g = group_of[j]
        if not before and j % group == 0:
            grid = fit_grid(W[:, j : j + group], bits, symmetric, mse, rules)
            scales[:, g], zeros[:, g] = grid
        return quantize(w[:, i], scales[:, g], zeros[:, g], bits)

    loss += sweep(W, inverse_factor(H), block, lambda *_: None, choose)
    back = permutation.argsort()
    return Layer(W[:, back], None, scales, zeros, index[back], permutation, loss)


def sparsegpt(
    W,
    H,
    sparsity=0.0,
    prune_n=0,
    prune_m=0,
    block=128,
    percdamp=0.01,
    bits=None,
    symmetric=False,
    scope="block",
    rules="published",
):
    """Prunes column by column and, given bits, quantizes what is left (one grid for each row).

    The weights of a block compete when it begins, with w^2 / U_jj^2; those of n:m when their first
    column is reached. scope="row" (exact rules only) compares within each row of the block.
    """
    W, (rows, columns) = W.float().clone(), W.shape
    H, dead = damped(H, percdamp, rules)
    layer = Layer(W)
    if bits:
        scale, zero = fit_grid(W, bits, symmetric, rules=rules)
        layer.scales, layer.zeros = scale[:, None], zero[:, None]
    if rules == "published":
        W[:, dead] = 0
    if prune_n:
        if columns % prune_m:
            raise ValueError(f"{prune_m} does not divide {columns} columns")
        if rules == "exact":
            block = max(prune_m, block - block % prune_m)
    layer.mask = torch.ones_like(W, dtype=torch.bool)

    def scores(w, u, start):
        if rules == "published":
            return w.square() / u.diagonal().square()
        return (w.abs() / u.diagonal()).masked_fill(dead[start : start + w.shape[1]], 0)

    def begin(start, stop, w, u):
        if prune_n:
            return
        s = scores(w, u, start)
        if rules == "published":
            keep = keep_above_threshold(s, sparsity)
        else:  # counts that add up to int(sparsity * size) over the blocks
            size = rows if scope == "block" else 1
            count = int(sparsity * (size * stop)) - int(sparsity * (size * start))
            keep = keep_all_but(s.view(rows // size, -1), count).view_as(s)
        layer.mask[:, start:stop] = keep

    def choose(j, i, w, u):
        if prune_n and i % prune_m == 0:
            group = slice(i, i + prune_m)
            s = scores(w[:, group], u[group, group], j)
            layer.mask[:, j : j + prune_m] = n_of_m_mask(s, prune_n, prune_m, rules)
        chosen = w[:, i].masked_fill(~layer.mask[:, j], 0)
        return quantize(chosen, scale, zero, bits) if bits else chosen

    layer.loss = sweep(W, inverse_factor(H), block, begin, choose)
    return layer
