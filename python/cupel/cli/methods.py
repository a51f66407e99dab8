"""From the command line's words to the compressor that they name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .arguments import fraction, whole_number
from .errors import UsageError

if TYPE_CHECKING:
    import cupel

QUANTIZERS = ("rtn", "gptq")


def pattern(text: str) -> tuple[int, int]:
    """An argparse type: n:m."""
    n, _, m = text.partition(":")
    if not (n.isdecimal() and m.isdecimal() and int(n) <= int(m)):
        raise argparse.ArgumentTypeError(
            f"must be n:m, n kept of every m columns, so n is at most m (2:4 keeps two of four). "
            f"Got {text}."
        )
    return int(n), int(m)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--method and what it is to do."""
    parser.add_argument(
        "--method",
        help="magnitude, wanda, ria or sparsegpt (with --sparsity or --pattern), rtn or gptq (with "
        "--bits); several with commas run one after the other; sparsegpt takes --bits as well and "
        "rounds in the same sweep",
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--sparsity", type=fraction, metavar="S", help="fraction of zeros, 0 to 1")
    target.add_argument("--pattern", type=pattern, metavar="N:M", help="keep N of every M columns")
    parser.add_argument(
        "--bits", type=whole_number(1, 8), metavar="B", help="quantize, 1 to 8 bits"
    )
    parser.add_argument("--rules", choices=("exact", "published"), default="exact")
    grid = parser.add_argument_group("grids")
    grid.add_argument(
        "--group",
        type=whole_number(0),
        default=0,
        help="columns that share a scale (default: 0, a whole row)",
    )
    grid.add_argument("--symmetric", action="store_true", help="fixed zero point")
    grid.add_argument(
        "--clip", default="min_max", help="how scales are chosen: min_max (default), mse, hessian"
    )
    grid.add_argument(
        "--scale-dtype",
        choices=("auto", "float32", "float16", "bfloat16"),
        default="auto",
        help="auto: the model's dtype for pack-quantized files, else float32",
    )
    sweep = parser.add_argument_group("sparsegpt and gptq")
    sweep.add_argument("--damping", type=fraction, default=0.01, help="default: 0.01")
    sweep.add_argument("--block", type=whole_number(1), default=128, help="columns (default: 128)")
    sweep.add_argument(
        "--order", choices=("none", "activation"), default="none", help="activation = act-order"
    )
    sweep.add_argument("--static-groups", action="store_true", help="fit all grids beforehand")
    sweep.add_argument("--saliency", default="obs", help="obs (default), wanda or magnitude")
    share = parser.add_argument_group("sparsity by layer")
    share.add_argument(
        "--allocation",
        choices=("uniform", "owl", "global"),
        help="how --sparsity is shared out among layers (default: each its own share)",
    )
    share.add_argument(
        "--keep-zeros", action="store_true", help="weights that are zero already stay zero"
    )


def names(args: argparse.Namespace) -> list[str]:
    """The methods asked for, in order."""
    if args.sparsity is None and args.pattern is None and args.bits is None:
        raise UsageError("say what to do: --sparsity S, --pattern N:M or --bits B.")
    if args.method is None:
        if args.bits is None:
            raise UsageError(
                f"--sparsity and --pattern need a --method, such as wanda; known: {known()}."
            )
        if args.sparsity is not None or args.pattern is not None:
            raise UsageError(
                "pruning and quantizing together need a --method: sparsegpt for one sweep, or two "
                "in order, such as wanda,gptq."
            )
        return ["rtn"]
    return [name.strip() for name in args.method.split(",")]


def known() -> str:
    """All methods, for messages."""
    import cupel

    return ", ".join([*cupel.criteria(), "sparsegpt", *QUANTIZERS])


def make_grid(args: argparse.Namespace, scale_dtype: str) -> cupel.Grid:
    """The grid that --bits and its companions describe."""
    import cupel

    return cupel.Grid(
        bits=args.bits,
        group=args.group,
        symmetric=args.symmetric,
        clip=args.clip,
        scale_dtype=scale_dtype,
    )


def make_step(name: str, args: argparse.Namespace, alone: bool, scale_dtype: str) -> Any:
    """One method of --method, or a UsageError."""
    import cupel

    pruning = args.sparsity is not None or args.pattern is not None
    if name in QUANTIZERS:
        if args.bits is None:
            raise UsageError(
                f"{name} quantizes: give it --bits instead of --sparsity or --pattern."
            )
        if alone and pruning:
            raise UsageError(
                f"{name} does not prune: name what does before it, such as wanda,{name}."
            )
        grid = make_grid(args, scale_dtype)
        if name == "rtn":
            return cupel.Rtn(grid, rules=args.rules)
        return cupel.Gptq(
            grid,
            damping=args.damping,
            block=args.block,
            order=args.order,
            static_groups=args.static_groups,
            rules=args.rules,
        )
    if name != "sparsegpt" and name not in cupel.criteria():
        raise UsageError(f"unknown --method {name}; known: {known()}.")
    if not pruning:
        raise UsageError(
            f"{name} prunes: give it --sparsity or --pattern; --bits is for {known_quantizers()}."
        )
    goal = cupel.n_of_m(*args.pattern) if args.pattern else cupel.unstructured(args.sparsity)
    if name == "sparsegpt":
        joint = alone and args.bits is not None
        return cupel.SparseGpt(
            goal,
            damping=args.damping,
            block=args.block,
            grid=make_grid(args, scale_dtype) if joint else None,
            saliency=args.saliency,
            rules=args.rules,
        )
    if alone and args.bits is not None:
        raise UsageError(
            f"{name} prunes: --bits needs a method that quantizes after it, such as {name},gptq."
        )
    return cupel.Prune(name, goal, rules=args.rules)


def known_quantizers() -> str:
    """The methods that take --bits, for messages."""
    return " and ".join(QUANTIZERS)


def make_compressor(args: argparse.Namespace, scale_dtype: str = "float32") -> Any:
    """The compressor that the arguments name, or a UsageError."""
    import cupel

    chosen = names(args)
    steps = [make_step(name, args, len(chosen) == 1, scale_dtype) for name in chosen]
    if args.bits is not None and len(steps) > 1 and chosen[-1] not in QUANTIZERS:
        raise UsageError("what quantizes comes last: pruning changes the weights after rounding.")
    return steps[0] if len(steps) == 1 else cupel.Chain(steps)


def make_allocation(args: argparse.Namespace) -> Any:
    """The allocation that --allocation names, or None."""
    import cupel

    if args.allocation is None:
        return None
    if args.sparsity is None:
        raise UsageError("--allocation shares out --sparsity; n:m fixes every layer's share.")
    rules = {"uniform": cupel.uniform, "owl": cupel.owl, "global": cupel.global_magnitude}
    return rules[args.allocation](args.sparsity)
