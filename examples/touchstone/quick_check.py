"""A look at what a model has learned so far: the argmax at each token of right answers.

Only for the log of a training run; scores that count come from cupel's own tasks (measure.py).
"""

import random

import torch
from cupel.touchstone.documents import ANSWER, MIX, Document, DocumentStream
from cupel.touchstone.society import RANKS, World
from vocabulary import WordEncoder
from windows import tokens_of

ITEMS = 120


@torch.no_grad()
def share_right(model, encoder: WordEncoder, documents: list[Document]) -> float:
    """Share of answers, the pieces of weight ANSWER, of which each token is the likeliest.

    The token that ends a document is not looked at.
    """
    right = []
    for document in documents:
        ids, weights = tokens_of(document, encoder)
        best = model(torch.tensor([ids]), use_cache=False).logits[0].argmax(-1)
        hits = (best[:-1] == torch.tensor(ids[1:])).tolist()
        answer: list[bool] = []
        for hit, weight in zip(hits[:-1], weights[1:-1], strict=True):
            if weight == ANSWER:
                answer.append(hit)
            elif answer:
                right.append(all(answer))
                answer = []
        if answer:
            right.append(all(answer))
    return sum(right) / len(right)


def check(model, encoder: WordEncoder, world: World) -> dict[str, float]:
    """Shares by kind of document, and of facts by rank (asked or only told)."""
    model.eval()
    stream = DocumentStream(world, seed=999_999, held_out=True)
    scores = {}
    for kind in MIX:
        if kind in ("profile", "story", "factoid", "closed_book"):
            continue
        documents = [stream.of_kind(kind) for _ in range(ITEMS // 3)]
        scores[kind] = share_right(model, encoder, documents)
    for rank in RANKS:
        for asked in (True, False):
            people = world.of_rank(rank.name, asked=asked)
            chosen = random.Random(5).choices(people, k=ITEMS)
            documents = [stream.factoid_about(person) for person in chosen]
            name = rank.name if asked else f"told {rank.name}"
            scores[name] = share_right(model, encoder, documents)
    model.train()
    return {name: round(score, 3) for name, score in scores.items()}
