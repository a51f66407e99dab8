"""Prunes half of a model's weights with Wanda and looks at what that cost.

    python examples/python/1_prune.py [MODEL CALIBRATION HELDOUT OUT]

Without arguments it works on the small model that comes with cupel and writes to ./pruned.
"""

import sys
from pathlib import Path

import cupel


def main(model_folder: Path, calibration: Path, heldout: Path, out: Path) -> None:
    model = cupel.load_model(model_folder)
    tokenizer = cupel.load_tokenizer(model_folder)
    dense = cupel.evaluate(model, tokenizer, ["perplexity"], text=heldout)

    # Wanda looks at the inputs of each layer, so it needs some text that runs through the model:
    # int64 [samples, length]. A tensor of your own does as well.
    length = min(256, model.config.max_positions)
    windows = cupel.sample_windows(calibration, tokenizer, samples=32, length=length, seed=0)

    # Works in place, block by block: each layer is calibrated on what the layers before it, already
    # pruned, make of the text.
    result = cupel.compress(model, windows, cupel.Prune("wanda", cupel.unstructured(0.5)))
    print(f"{len(result.layers)} layers, {result.sparsity:.2%} of their weights are zero")

    # The relative error of a layer is that of its outputs on the calibration text.
    worst = max(result.layers, key=lambda layer: layer.relative_error)
    print(f"largest relative error: {worst.relative_error:.4f} in {worst.name}")

    pruned = cupel.evaluate(model, tokenizer, ["perplexity"], text=heldout)
    paired = cupel.compare(dense, pruned).perplexities[0]
    print(f"dense perplexity:      {paired.dense:.4f}")
    print(f"compressed perplexity: {paired.compressed:.4f}")
    print(f"loss difference:       {paired.loss_difference:.4f} ± {paired.standard_error:.4f}")

    # A folder that transformers loads, with a record of all this in cupel.json.
    cupel.save_model(model, out)
    print(f"written to {out}")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        main(*map(Path, sys.argv[1:]))
    elif len(sys.argv) == 1:
        shipped = cupel.touchstone.folder()
        texts = (cupel.touchstone.CALIBRATION, cupel.touchstone.HELDOUT)
        main(shipped, *(shipped / text for text in texts), Path("pruned"))
    else:
        sys.exit(__doc__)
