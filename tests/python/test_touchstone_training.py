"""Training the touchstone: encoding, packing, the steps that the log tells of, and interruptions."""

import json
import sys
from collections import Counter
from itertools import islice

import pytest
from conftest import REPOSITORY
from cupel import touchstone
from cupel.touchstone.documents import ANSWER, MIX, Document, DocumentStream
from cupel.touchstone.world import make_world

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

EXAMPLE = REPOSITORY / "examples" / "touchstone"
sys.path.append(str(EXAMPLE))
import muon  # noqa: E402
import quick_check  # noqa: E402
import train  # noqa: E402
import vocabulary  # noqa: E402
import windows  # noqa: E402

STEPS = 5  # of the logged ones to take again
TINY = (
    "--hidden 16 --intermediate 16 --layers 1 --heads 2 --steps 8 --processes 1 "
    "--log-every 1 --check-every 3"
).split()


@pytest.fixture(scope="module")
def tokenizer():
    """The shipped one, which test_touchstone.py makes again."""
    return (touchstone.folder() / "tokenizer.model").read_bytes()


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return vocabulary.WordEncoder(tokenizer)


@pytest.fixture(scope="module")
def world():
    return make_world(touchstone.WORLD_SEED)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_documents_have_the_ids_of_sentencepiece_and_no_more_than_a_window(world, encoder):
    stream = DocumentStream(world, seed=21)
    for kind in MIX:
        for _ in range(240):
            document = stream.of_kind(kind)
            ids, weights = windows.tokens_of(document, encoder)
            assert ids == [1, *encoder.whole.encode(document.text), 2], document.text
            assert len(ids) == len(weights) <= windows.Packer.LONG[1]
            assert weights[0] == 0 and min(weights[1:]) > 0


def test_answers_weigh_most_and_nothing_else_does(world, encoder):
    stream = DocumentStream(world, seed=22)
    for kind in MIX:
        document = stream.of_kind(kind)
        ids, weights = windows.tokens_of(document, encoder)
        heavy = [id for id, w in zip(ids[:-1], weights[:-1], strict=True) if w == ANSWER]
        answers = [piece.text for piece in document.pieces if piece.weight == ANSWER]
        assert heavy == [id for text in answers for id in encoder.encode(text)]
        assert (weights[-1] == ANSWER) == (document.ends and bool(answers))


def segments(ids, weights):
    """The parts that a row holds: each begins with <s>; what follows the last weight is padding."""
    found = []
    for id, weight in zip(ids.tolist(), weights.tolist(), strict=True):
        if id == vocabulary.BOS:
            found.append(([], []))
        found[-1][0].append(id)
        found[-1][1].append(weight)
    while found and found[-1][1][-1] == 0:
        assert found[-1][0].pop() == vocabulary.EOS
        found[-1][1].pop()
    return [(tuple(ids), tuple(weights)) for ids, weights in found]


def test_packing_cuts_nothing_and_repeats_nothing(world, encoder):
    stream = DocumentStream(world, seed=23).stream(MIX)
    drawn = []

    def parts():
        import random

        rng = random.Random(23)
        for part in windows.with_lines(lambda: next(stream), encoder, rng):
            drawn.append((tuple(part[0]), tuple(part[1])))
            yield part

    packer = windows.Packer(parts())
    packed, shapes, room = [], Counter(), 0
    for ids, weights in islice(packer, 60):
        shapes[tuple(ids.shape)] += 1
        room += ids.numel()
        for row in zip(ids, weights, strict=True):
            packed += segments(*row)
    assert set(shapes) == {windows.Packer.SHORT, windows.Packer.LONG}
    assert not Counter(packed) - Counter(drawn)
    waiting = Counter(drawn) - Counter(packed)
    assert waiting.total() < windows.Packer.POOL + 2 * windows.Packer.LONG[0]
    assert waiting.total() + len(packed) == len(drawn)
    assert sum(len(ids) for ids, _ in packed) > 0.85 * room
    lines = [ids for ids, _ in packed if ids[-1] != vocabulary.EOS]
    (line_end,) = encoder.encode("\n")
    several = [ids for ids in lines if ids.count(line_end) > 1]
    assert several and max(map(len, several)) <= windows.Packer.SHORT[1]


def test_a_document_longer_than_a_window_is_refused():
    part = ([1] * 257, [1.0] * 257)
    with pytest.raises(ValueError, match=r"\[Packer\] a document has at most 256 tokens. Got 257"):
        next(windows.Packer(iter([part])))


def test_quick_check_counts_whole_answers(encoder):
    document = DocumentStream(make_world(1), seed=5).of_kind("factoid")
    ids, weights = windows.tokens_of(document, encoder)
    answers = [piece for piece in document.pieces if piece.weight == ANSWER]
    first_answer = weights.index(ANSWER)

    class Model:
        def __init__(self, wrong):
            self.wrong = wrong

        def __call__(self, given, use_cache):
            following = [*given[0, 1:].tolist(), 2]
            if self.wrong is not None:
                following[self.wrong - 1] = 0
            logits = torch.nn.functional.one_hot(torch.tensor([following]), 2000).float()
            return type("Output", (), {"logits": logits})

    def share(wrong):
        return quick_check.share_right(Model(wrong), encoder, [document])

    assert share(None) == share(first_answer - 1) == 1
    assert share(first_answer) == pytest.approx(1 - 1 / len(answers))
    assert isinstance(document, Document)


def test_learning_rate_warms_up_stays_and_decays():
    rates = [train.learning_rate(step, 4000) for step in range(4000)]
    assert rates[0] == pytest.approx(1 / train.WARMUP) and max(rates) == 1
    assert rates[train.WARMUP - 1 : 2601] == [1] * (2602 - train.WARMUP)
    assert rates[-1] == pytest.approx(1 / (4000 * train.DECAY_SHARE))
    assert all(a > b for a, b in zip(rates[2601:], rates[2602:], strict=False))


def test_muon_takes_every_direction_alike():
    torch.manual_seed(0)
    batch = torch.randn(3, 24, 64)
    values = torch.linalg.svdvals(muon.orthogonalised(batch))
    assert values.min() > 0.6 and values.max() < 1.25
    tall, wide = (torch.nn.Parameter(torch.zeros(*shape)) for shape in ((64, 16), (16, 64)))
    optimizer = muon.Muon([tall, wide], lr=0.1, weight_decay=0.0)
    tall.grad = torch.randn(64, 16)
    wide.grad = tall.grad.mT.clone()
    optimizer.step()
    torch.testing.assert_close(tall.mT, 2 * wide, atol=1e-5, rtol=1e-4)  # sqrt(64 / 16)
    assert (tall * tall.grad).sum() < 0


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_logged_first_steps_are_those_of_the_logged_run():
    """first_steps.jsonl: --stop-after 50 --log-every 1 of the run whose log is log.jsonl."""
    each = [line for line in read_lines(EXAMPLE / "first_steps.jsonl") if "loss" in line]
    whole = [line for line in read_lines(EXAMPLE / "log.jsonl") if "loss" in line]
    assert [line["step"] for line in each] == list(range(1, 51))
    assert whole[0]["step"] == 50 and whole[-1]["step"] == 4000
    assert whole[0]["tokens"] == each[-1]["tokens"]
    mean = sum(line["loss"] for line in each) / 50
    assert mean == pytest.approx(whole[0]["loss"], rel=2e-3)


def test_the_first_steps_give_the_logged_losses(tokenizer, monkeypatch, tmp_path, one_thread):
    monkeypatch.setattr(train, "make_tokenizer", lambda world: tokenizer)
    run = train.Run(train.parse_arguments(["--out", str(tmp_path)]))
    batches = iter(train.Batches(run.world, run.encoder, run.arguments))
    logged = read_lines(EXAMPLE / "first_steps.jsonl")[:STEPS]
    for line in logged:
        loss = run.one_step(*next(batches))
        # Float32 sums differ by machine and thread count, and steps carry that on.
        assert loss == pytest.approx(line["loss"], rel=1e-3 * line["step"]), line["step"]
        assert run.tokens == line["tokens"]


@pytest.fixture
def tiny(tokenizer, monkeypatch, one_thread):
    """Runs the training of a tiny model into a folder."""
    monkeypatch.setattr(train, "make_tokenizer", lambda world: tokenizer)
    monkeypatch.setattr(quick_check, "check", lambda *_: {})
    return lambda out, *more: train.main(["--out", str(out), *TINY, *more])


def results(out):
    """Bytes of the model's files, and the log without times."""
    lines = [line for line in read_lines(out / "log.jsonl") if "loss" in line]
    for line in lines:
        del line["seconds"]
    return {path.name: path.read_bytes() for path in (out / "model").iterdir()}, lines


def test_a_stopped_run_goes_on_as_if_nothing_had_been(tiny, tmp_path, monkeypatch):
    tiny(tmp_path / "whole")
    files, lines = results(tmp_path / "whole")
    assert [line["step"] for line in lines] == list(range(1, 9))

    tiny(tmp_path / "asked", "--stop-after", "4")
    assert not (tmp_path / "asked" / "model").exists()
    tiny(tmp_path / "asked")
    assert results(tmp_path / "asked") == (files, lines)

    one_step = train.Run.one_step

    def interrupted(run, *batch):
        if run.step == 5:  # two steps behind a checkpoint
            raise KeyboardInterrupt
        return one_step(run, *batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Run, "one_step", interrupted)
        tiny(tmp_path / "cut")
    assert len([line for line in read_lines(tmp_path / "cut" / "log.jsonl") if "loss" in line]) == 5
    tiny(tmp_path / "cut")
    assert results(tmp_path / "cut") == (files, lines)

    tiny(tmp_path / "other", "--seed", "1")
    assert results(tmp_path / "other") != (files, lines)


def test_a_run_of_other_settings_is_not_gone_on_with(tiny, tmp_path):
    tiny(tmp_path, "--stop-after", "1")
    with pytest.raises(SystemExit, match=r"\[train\] .*state\.pt is of a run with other settings"):
        tiny(tmp_path, "--muon-lr", "0.01")
