"""Prunes to 2:4 and quantizes to 4 bits: in one sweep, and one after the other.

    python examples/python/6_prune_and_quantize.py [MODEL CALIBRATION HELDOUT OUT]

Without arguments it works on the small model that comes with cupel and writes to ./pruned-quantized.
"""

import sys
from pathlib import Path

import cupel


def main(model_folder: Path, calibration: Path, heldout: Path, out: Path) -> None:
    tokenizer = cupel.load_tokenizer(model_folder)
    model = cupel.load_model(model_folder)
    length = min(256, model.config.max_positions)
    windows = cupel.sample_windows(calibration, tokenizer, samples=32, length=length, seed=0)
    dense = cupel.perplexity(model, tokenizer, heldout)
    print(f"dense perplexity:                                 {dense.value:.4f}")

    pattern, grid = cupel.n_of_m(2, 4), cupel.Grid(bits=4)
    # One sweep over the columns that prunes each weight or rounds it, as in the SparseGPT paper.
    joint = cupel.SparseGpt(pattern, grid=grid)
    # Any methods in a row, layer by layer. What the first one pruned stays exactly zero, and losses
    # are against the weights that the first one was given. In C++ this list is a cupel::Chain.
    chain = [cupel.SparseGpt(pattern), cupel.Gptq(grid)]

    for method in (joint, chain):
        model = cupel.load_model(model_folder)  # compress works in place: start from the dense one
        result = cupel.compress(model, windows, method)
        compressed = cupel.perplexity(model, tokenizer, heldout)
        label = f"{result.method}:"
        print(f"compressed perplexity, {label:26} {compressed.value:.4f}")

    pruned = sum(int((~mask).sum()) for mask in result.masks().values())
    print(f"{pruned / result.weights:.2%} of the weights pruned")
    bits = 8 * result.packed_bytes / result.weights
    print(f"{bits:.2f} bits a weight if packed, masks and scales included")

    cupel.save_model(model, out)
    print(f"written to {out}")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        main(*map(Path, sys.argv[1:]))
    elif len(sys.argv) == 1:
        shipped = cupel.touchstone.folder()
        texts = (cupel.touchstone.CALIBRATION, cupel.touchstone.HELDOUT)
        main(shipped, *(shipped / text for text in texts), Path("pruned-quantized"))
    else:
        sys.exit(__doc__)
