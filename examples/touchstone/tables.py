"""The tables of docs/touchstone.md from the folder of a grid, as Markdown.

    python examples/touchstone/tables.py full > tables.md
    python examples/touchstone/tables.py full full-1 full-2 > seeds.md

First what each model keeps of the dense score, in percent, means over the draws of the calibration
text; `*` where every draw's paired 95 % interval lies below the dense score. Then the differences
with their intervals at chosen levels, of the first draw. Last the models by size, with the mean over
all tasks of what is kept. Of several folders, the same grid on models of several training seeds:
what they keep, mean over the seeds, with the least and the most of them; `*` as above, with every seed.
"""

import argparse
import pathlib

import pandas
from cupel._kick.result import KickResult

LEVELS = (("sparsity", "0.4"), ("sparsity", "0.5"), ("pattern", "2:4"), ("bits", "3"))


def read(folder: pathlib.Path) -> pandas.DataFrame:
    """Rows of the strict protocol: a value of each task, and the perplexities."""
    result = KickResult(folder)
    frame = result.to_pandas()
    frame = frame[(frame.status == "done") & (frame.protocol != "paper")]
    chosen = {task: result.shown.value(task) for task in frame.task.unique()}
    wanted = frame.metric == frame.task.map(chosen)
    return frame[wanted | (frame.metric == "perplexity")]


def kept(rows: pandas.DataFrame) -> str:
    """A cell of the first table."""
    if (rows.metric == "perplexity").all():
        return f"{rows.ratio.mean():.2f}"
    share = 100 * (rows.compressed / rows.dense).mean()
    return f"{share:.0f}" + ("\\*" if (rows.high < 0).all() else "")


def interval(rows: pandas.DataFrame) -> str:
    """A cell of the second table: points, or the ratio of a perplexity."""
    row = rows.iloc[0]
    if row.metric == "perplexity":
        return f"{row.ratio:.2f} [{row.ratio_low:.2f}, {row.ratio_high:.2f}]"
    return f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"


def spread(rows: pandas.DataFrame) -> str:
    """A cell of the table over training seeds: mean, least and most of `kept`, over the draws each."""
    perplexity = (rows.metric == "perplexity").all()
    share = rows.ratio if perplexity else 100 * rows.compressed / rows.dense
    shares = share.groupby(rows.training).mean()
    mean, least, most = (
        f"{x:.2f}" if perplexity else f"{x:.0f}"
        for x in (shares.mean(), shares.min(), shares.max())
    )
    star = "\\*" if not perplexity and (rows.high < 0).all() else ""
    return f"{mean}{star}" if least == most else f"{mean}{star} ({least}-{most})"


def print_over_seeds(frame: pandas.DataFrame) -> None:
    """The dense scores of each training seed, then what their compressed models keep."""
    dense = frame.drop_duplicates(["task_label", "training"])
    scores = dense.pivot(index="task_label", columns="training", values="dense")
    print(line(["task, dense", *(f"seed {seed}" for seed in scores.columns)]))
    print(line(["---", *["---:"] * len(scores.columns)]))
    for task in dict.fromkeys(frame.task_label):
        print(line([task, *(f"{score:.3f}" for score in scores.loc[task])]))
    print()
    print_table(frame, list(dict.fromkeys(frame.label)), spread)


def bits(row) -> float:
    """Bits a weight: codes with their scales, or what is left in 16 bits with a mask of one."""
    return row.bits_per_weight if row.kind == "bits" else 16 * (1 - row.sparsity) + 1


def print_sizes(frame: pandas.DataFrame) -> None:
    """From small to large: what knowledge and reading keep of the dense scores, in percent."""
    print(line(["model", "bits a weight", "perplexity of stories", "all tasks", "worst task"]))
    print(line(["---", *["---:"] * 4]))
    sizes = {label: bits(own.iloc[0]) for label, own in frame.groupby("label", sort=False)}
    for label in sorted(sizes, key=sizes.get):
        own = frame[frame.label == label]
        ratio = own[own.task_label == "perplexity of stories"].ratio.mean()
        scores = own[own.metric != "perplexity"]
        share = 100 * (scores.compressed / scores.dense).groupby(scores.task_label).mean()
        told = [f"{share.mean():.0f}", f"{share.min():.0f} ({share.idxmin()})"]
        print(line([label, f"{sizes[label]:.2f}", f"{ratio:.2f}", *told]))


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def print_table(frame: pandas.DataFrame, models: list[str], cell) -> None:
    """Rows are `models` by label, columns the tasks by label."""
    tasks = list(dict.fromkeys(frame.task_label))
    print(line(["model", *tasks]))
    print(line(["---", *["---:"] * len(tasks)]))
    for model in models:
        own = frame[frame.label == model]
        print(line([model, *(cell(own[own.task_label == task]) for task in tasks)]))
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=pathlib.Path, nargs="+", help="grids of `cupel kick`")
    folders = parser.parse_args().folders
    if len(folders) > 1:
        frames = [read(folder).assign(training=seed) for seed, folder in enumerate(folders)]
        print_over_seeds(pandas.concat(frames))
        return
    frame = read(folders[0])
    dense = frame.drop_duplicates("task_label")
    print(line(["task", "dense"]))
    print(line(["---", "---:"]))
    for row in dense.itertuples():
        print(line([row.task_label, f"{row.dense:.3f}"]))
    print()
    print_table(frame, list(dict.fromkeys(frame.label)), kept)
    for kind, level in LEVELS:
        own = frame[(frame.kind == kind) & (frame.level.astype(str) == level)]
        own = own[own.seed == own.seed.min()]
        if len(own):
            print_table(own, list(dict.fromkeys(own.label)), interval)
    print_sizes(frame)


if __name__ == "__main__":
    main()
