"""What docs/llm_kick_claims.md says of the paper's own tables, computed from them again."""

import json
import math
import re

import cupel
import pytest
from conftest import REPOSITORY

LEVELS = [10, 20, 30, 40, 50]


@pytest.fixture
def tables(shared_path):
    return json.loads(shared_path("golden/paper_tables.json").read_text(encoding="utf-8"))


@pytest.fixture
def kept(tables):
    """Task -> level -> method: whether 95 % of the dense score is kept."""
    found = {}
    for task, methods in tables["table3"].items():
        found[task] = {
            level: {m: cupel.matching(row[0], row[i]) for m, row in methods.items()}
            for i, level in enumerate(LEVELS, 1)
        }
    return found


def change(tables, task, method, level):
    """Relative change of a score of table 3, %."""
    row = tables["table3"][task][method]
    return 100 * (row[1 + LEVELS.index(level)] / row[0] - 1)


def z(p, q, n):
    """Two proportions of n items each, unpaired: their difference over its standard error."""
    return abs(p - q) / math.sqrt((p * (1 - p) + q * (1 - q)) / n)


def claims():
    """Claim -> its section of the page."""
    text = (REPOSITORY / "docs" / "llm_kick_claims.md").read_text(encoding="utf-8")
    parts = re.split(r"^### (C\d+)\b", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_has_every_claim_with_its_three_parts():
    found = claims()
    assert list(found) == [f"C{i}" for i in range(1, 21)]
    for name, text in found.items():
        for part in ("**Paper.**", "**Re-test.**", "**Found.**"):
            assert part in text, (name, part)


def test_table_3_on_matching(tables, kept):
    factoid, mmlu = kept["factoid_qa_acc_pct"], kept["mmlu_acc"]
    story, chat = kept["long_story_coherence"], kept["instruction_gpt4"]
    # C3: everything at 20 %, nothing from 30 % on; magnitude fails at 10 % and passes at 20 %
    assert all(factoid[20].values())
    assert not any(v for level in (30, 40, 50) for v in factoid[level].values())
    assert [factoid[level]["magnitude"] for level in (10, 20)] == [False, True]
    # C6: all at 20 %, Wanda alone at 30 %, none at 40 %
    assert all(mmlu[20].values()) and not any(mmlu[40].values())
    assert [m for m, v in mmlu[30].items() if v] == ["wanda"]
    # C11: nothing at 40 % and 50 %; SparseGPT fails at 20 % and passes at 30 %
    assert not any(v for level in (40, 50) for v in story[level].values())
    assert [story[level]["sparsegpt"] for level in (20, 30)] == [False, True]
    # C12
    assert all(chat[20].values()) and not any(chat[30].values())
    text = claims()
    for claim, task, level in (
        ("C3", "factoid_qa_acc_pct", 30), ("C6", "mmlu_acc", 30), ("C6", "mmlu_acc", 40),
        ("C11", "long_story_coherence", 40), ("C11", "long_story_coherence", 50),
        ("C12", "instruction_gpt4", 20), ("C12", "instruction_gpt4", 30),
    ):  # fmt: skip
        for method in ("magnitude", "sparsegpt", "wanda"):
            assert f"{change(tables, task, method, level):+.1f}" in text[claim], (
                claim,
                method,
                level,
            )


def test_table_2_and_section_4_against_their_own_error(tables):
    two, dense = tables["table2"], tables["table3"]["factoid_qa_acc_pct"]["magnitude"][0]
    text = claims()
    for name, value in two["factoid_qa_pct"].items():
        assert f"{100 * (value / dense - 1):+.1f}" in text["C5"], name
    # C17: the order is not the same on all tasks, and the distances are within the error
    assert two["instruction_gpt4"]["awq8"] < two["instruction_gpt4"]["gptq8"]
    factoid = [value / 100 for value in two["factoid_qa_pct"].values()]
    mmlu = [value / 100 for value in two["mmlu_pct"].values()]
    far = z(min(factoid), max(factoid), 1000), z(min(mmlu), max(mmlu), 14042)
    assert max(far) < 1.96
    assert f"{far[0]:.1f} and {far[1]:.1f} standard errors" in text["C17"]
    # C14: SparseGPT is within the error of the small model
    sides = tables["small_dense_vs_large_sparse_mmlu_pct"]
    small, large = sides["vicuna7b_dense"] / 100, sides["vicuna13b_46.16pct"]
    for method in ("sparsegpt", "wanda"):
        distance = z(small, large[method] / 100, 14042)
        assert (distance > 1.96) == (method == "wanda")
        assert f"{distance:.1f}" in text["C14"]
