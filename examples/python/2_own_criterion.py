"""Prunes with a criterion of your own, here RIA, and compares it with Wanda.

    python examples/python/2_own_criterion.py [MODEL CALIBRATION HELDOUT OUT]

Without arguments it works on the small model that comes with cupel and writes to ./pruned-ria.

RIA, "relative importance and activations", is from Zhang et al., Plug-and-Play: An Efficient
Post-training Pruning Method for Large Language Models, ICLR 2024. A weight matters by its share of its
column and of its row, times the square root of its input's norm. The library has it as well, under
the name "ria"; here it stands for one of your own.
"""

import sys
from pathlib import Path

import cupel


# A criterion is a function of a weight [out, in] and the statistics of its layer's inputs. It returns
# a score for each weight; the lowest are pruned. `needs` says which statistics it asks for, and only
# those are collected. From here on "my_ria" is a name like "wanda".
@cupel.criterion("my_ria", needs="sq_norm")
def my_ria(weight, stats):
    a = weight.abs()
    tiny = 1e-30  # a row or column of zeros scores 0 instead of 0 / 0, which would be refused
    relative = a / a.sum(0, True).clamp_min(tiny) + a / a.sum(1, True).clamp_min(tiny)
    # sq_norm [in] is the sum of x^2 over the tokens.
    return relative * stats.sq_norm().pow(0.25).to(a.device)


def main(model_folder: Path, calibration: Path, heldout: Path, out: Path) -> None:
    tokenizer = cupel.load_tokenizer(model_folder)
    model = cupel.load_model(model_folder)
    length = min(256, model.config.max_positions)
    windows = cupel.sample_windows(calibration, tokenizer, samples=32, length=length, seed=0)
    dense = cupel.perplexity(model, tokenizer, heldout)
    print(f"dense perplexity:               {dense.value:.4f}")

    for name in ("wanda", "my_ria"):
        model = cupel.load_model(model_folder)  # compress works in place: start from the dense one
        cupel.compress(model, windows, cupel.Prune(name, cupel.n_of_m(2, 4)))
        compressed = cupel.perplexity(model, tokenizer, heldout)
        print(f"compressed perplexity, {name + ':':8} {compressed.value:.4f}")

    cupel.save_model(model, out)
    print(f"written to {out}")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        main(*map(Path, sys.argv[1:]))
    elif len(sys.argv) == 1:
        shipped = cupel.touchstone.folder()
        texts = (cupel.touchstone.CALIBRATION, cupel.touchstone.HELDOUT)
        main(shipped, *(shipped / text for text in texts), Path("pruned-ria"))
    else:
        sys.exit(__doc__)
