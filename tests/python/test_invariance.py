"""Batches, threads and shared prefixes change no prediction; neighbours change no generated token.

On trained models: the one that comes with the package, whose answers are close to what it knows.
"""

import random

import cupel
import pytest
import torch

ITEMS, CHOICES = 1000, 4
CLOSE = 1e-5  # nats: two choices nearer than this may change places, and are printed


@pytest.fixture(scope="module")
def trained():
    folder = cupel.touchstone.folder()
    return cupel.load_model(folder, dtype="float32"), cupel.load_tokenizer(folder), folder


@pytest.fixture(scope="module")
def sentences(trained):
    text = (trained[2] / "heldout.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if len(line.split()) >= 6]


@pytest.fixture(scope="module")
def items(sentences):
    """Contexts behind a few shots, each with its own last word and three from elsewhere."""
    draw = random.Random(5)
    words = sorted({line.split()[-1] for line in sentences})
    headers = ["\n".join(draw.sample(sentences, 3)) + "\n" for _ in range(4)]
    made = []
    for i in range(ITEMS):
        line = draw.choice(sentences)
        head, last = line.rsplit(" ", 1)
        others = draw.sample([word for word in words if word != last], CHOICES - 1)
        context = headers[i % len(headers)] + head
        made.append((context, [f" {word}" for word in [last, *others]]))
    return made


def score(trained, items, threads=2, **options):
    model, tokenizer, _ = trained
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        scorer = cupel.ModelScorer(model, tokenizer, **options)
        flat = scorer.log_likelihood([(c, choice) for c, choices in items for choice in choices])
    finally:
        torch.set_num_threads(before)
    values = [one.value for one in flat]
    return [values[i : i + CHOICES] for i in range(0, len(values), CHOICES)], scorer.counts


def changed(reference, other):
    """Items whose prediction moved although the two choices are not as good as equal."""
    moved = []
    for i, (a, b) in enumerate(zip(reference, other, strict=True)):
        first, second = a.index(max(a)), b.index(max(b))
        if first == second:
            continue
        if abs(a[first] - a[second]) < CLOSE:
            print(
                f"item {i}: choices {first} and {second} are {abs(a[first] - a[second]):.1e} apart"
            )
        else:
            moved.append(i)
    return moved


def test_no_prediction_depends_on_batches_threads_or_shared_prefixes(trained, items):
    reference, counts = score(trained, items)
    right = sum(values.index(max(values)) == 0 for values in reference)
    assert right > ITEMS / 2  # a model that knows nothing would hide a change
    alone, all_counts = score(trained, items, share_prefixes=False)
    assert counts.run < all_counts.run / 2
    assert changed(reference, alone) == []
    for batch in (64, 500, 8192):
        assert changed(reference, score(trained, items, batch_tokens=batch)[0]) == []
    for threads in (1, 3):
        other = score(trained, items, threads=threads)[0]
        assert changed(reference, other) == []
        assert other == reference  # the same bytes, not only the same predictions
    largest = max(
        abs(a - b) for x, y in zip(reference, alone, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert largest < 1e-3  # nats, by float32 rounding alone


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_no_generated_text_depends_on_its_neighbours(trained, sentences, temperature):
    model, tokenizer, _ = trained
    draw = random.Random(6)
    requests = [
        cupel.GenerationRequest(
            " ".join(draw.choice(sentences).split()[: draw.randrange(1, 6)]),
            max_new_tokens=draw.randrange(4, 24),
            stop=["\n"],
            temperature=temperature,
            seed=i,
        )
        for i in range(200)
    ]

    def texts(some):
        return [made.text for made in cupel.ModelScorer(model, tokenizer).generate(some)]

    together = texts(requests)
    order = draw.sample(range(200), 200)
    assert texts([requests[i] for i in order]) == [together[i] for i in order]
    assert [texts([request])[0] for request in requests] == together
    assert len(set(together)) > 50
