"""Token models and scorers that are written in Python."""

import gc
import threading
import weakref

import cupel
import pytest
import torch

VOCABULARY = 96


class Counting(cupel.TokenModel):
    """Logits that depend on every token so far; a state is the sum of what was run."""

    class State(list):
        pass

    def __init__(self, length=64, piece=3):
        super().__init__()
        self.length, self.piece, self.calls = length, piece, []

    def info(self):
        return cupel.TokenModelInfo(
            VOCABULARY, self.length, fingerprint="counting", has_states=True, state_bytes=8
        )

    @staticmethod
    def row(tokens):
        generator = torch.Generator().manual_seed(sum((i + 1) * t for i, t in enumerate(tokens)))
        return torch.randn(VOCABULARY, generator=generator)

    def run(self, rows, sink):
        self.calls.append(len(rows))
        logits, states = [], []
        for row in rows:
            before = list(row.state) if row.state is not None else []
            logits += [self.row(before + row.tokens[: at + 1]) for at in row.wanted]
            states.append(self.State(before + row.tokens) if row.keep else None)
        for first in range(0, len(logits), self.piece):
            sink(first, torch.stack(logits[first : first + self.piece]))
        return states


def test_a_python_model_is_run_in_pieces_and_keeps_states():
    model = Counting()
    tokens = [5, 3, 8, 1, 9, 2, 7]
    expected = torch.stack([model.row(tokens[: i + 1]) for i in range(7)])
    assert torch.equal(model.logits(tokens), expected)
    assert torch.equal(model.logits(torch.tensor(tokens), [1, 6]), expected[[1, 6]])
    state = model.prefill(tokens[:4])
    assert isinstance(state, Counting.State) and list(state) == tokens[:4]
    assert torch.equal(model.logits(tokens[4:], state=state), expected[4:])
    assert list(model.prefill(tokens[4:], state)) == tokens
    logits, states = model.decode([9, 4], [state, state])
    assert torch.equal(logits[0], expected[4]) and [len(s) for s in states] == [5, 5]


def test_a_native_model_shows_its_states_to_python(tiny, tokens):
    model = tiny()
    native = cupel.NativeTokenModel(model)
    expected = model.logits(tokens[:1])[0]
    assert torch.allclose(native.logits(tokens[0]), expected, atol=1e-5)
    state = native.prefill(tokens[0, :20])
    assert isinstance(state, cupel.TokenModel.State) and len(state) == 20
    assert torch.allclose(native.logits(tokens[0, 20:], state=state), expected[20:], atol=1e-5)

    seen = {}
    rows = [
        cupel.TokenModel.Row(tokens[0, 20:24], wanted=[0, 3], state=state, keep=True),
        cupel.TokenModel.Row(tokens[0, :2], wanted=[1]),
    ]
    states = native.run(
        rows, lambda first, logits: seen.update(enumerate(logits.clone(), start=first))
    )
    assert [None if s is None else len(s) for s in states] == [24, None]
    for row, position in enumerate((20, 23, 1)):
        assert torch.allclose(seen[row], expected[position], atol=1e-5)
    assert native.info().vocabulary == VOCABULARY and native.info().has_states
    assert native.info().fingerprint == model.fingerprint()
    with pytest.raises(TypeError):
        type("Mine", (cupel.NativeTokenModel,), {})


def test_a_state_of_another_kind_of_model_is_refused(tiny):
    with pytest.raises(ValueError, match="the state comes from another model"):
        cupel.NativeTokenModel(tiny()).logits([1, 2], state=[1, 2, 3])


def test_rows_and_infos_show_what_they_were_made_of():
    row = cupel.TokenModel.Row([1, 2, 3], [0, 2], state="abc", keep=True)
    assert (row.tokens, row.wanted, row.state, row.keep) == ([1, 2, 3], [0, 2], "abc", True)
    info = cupel.TokenModelInfo(vocabulary=7, max_length=9, dtype="bfloat16")
    assert (info.vocabulary, info.max_length, info.device, info.dtype) == (7, 9, "cpu", "bfloat16")
    assert (info.fingerprint, info.has_states, info.state_bytes) == ("", False, 0)
    assert "vocabulary=7" in repr(info)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda rows, sink: sink(1, torch.zeros(2, VOCABULARY)), "in order, without gaps"),
        (lambda rows, sink: sink(0, torch.zeros(1, VOCABULARY)), "every wanted position, once"),
        (lambda rows, sink: sink(0, torch.zeros(3, VOCABULARY)), "every wanted position, once"),
        (lambda rows, sink: None, "Got 0 of 2"),
        (lambda rows, sink: sink(0, torch.zeros(VOCABULARY)), r"logits are \[rows, vocabulary\]"),
        (lambda rows, sink: [sink(0, torch.zeros(2, VOCABULARY))] * 2, "an entry for each of 1"),
    ],
)
def test_a_model_that_does_not_keep_its_word_is_told_so(run, message):
    model = Counting()
    model.run = run
    with pytest.raises(ValueError, match=message):
        model.logits([1, 2, 3], [0, 2])


def test_a_row_that_keeps_its_state_must_get_one():
    model = Counting()
    model.run = lambda rows, sink: None
    with pytest.raises(ValueError, match="a state for each row that keeps one. Got None for row 0"):
        model.prefill([1, 2])
    model.run = lambda rows, sink: [object()]
    with pytest.raises(TypeError, match="a state has a length"):
        model.prefill([1, 2])


@pytest.mark.parametrize("wanted", [[3], [-1], [1, 1], [2, 0]])
def test_wanted_positions_are_checked_before_python_is_called(wanted):
    with pytest.raises(ValueError, match="wanted positions ascend and lie in"):
        Counting().logits([1, 2, 3], wanted)


def test_a_class_without_run_or_info_is_told_what_is_missing():
    class Empty(cupel.TokenModel):
        pass

    with pytest.raises(ValueError, match="a subclass defines info"):
        Empty().info()
    with pytest.raises(ValueError, match=r"a subclass defines run\(rows, sink\)"):
        Empty().logits([1])


def test_info_may_be_a_property_or_an_attribute():
    class Property(Counting):
        @property
        def info(self):
            return cupel.TokenModelInfo(5, 6)

    class Attribute(Counting):
        def __init__(self):
            super().__init__()
            self.info = cupel.TokenModelInfo(7, 8)

    assert cupel.TokenModel.info(Property()).vocabulary == 5
    assert cupel.TokenModel.info(Attribute()).vocabulary == 7


def test_exceptions_of_the_user_come_back_unchanged():
    class Mine(Exception):
        pass

    def fail(rows, sink):
        raise Mine("as it was")

    model = Counting()
    model.run = fail
    with pytest.raises(Mine, match="as it was") as caught:
        model.logits([1])
    assert caught.traceback[-1].name == "fail"


def test_a_sink_that_outlives_its_run_is_an_error_and_no_crash():
    kept = []
    model = Counting()
    ordinary = model.run

    def keep(rows, sink):
        kept.append(sink)
        return ordinary(rows, sink)

    model.run = keep
    model.logits([1, 2])
    with pytest.raises(ValueError, match="a sink is used within the run"):
        kept[0](2, torch.zeros(1, VOCABULARY))


def test_states_may_be_dropped_on_another_thread():
    class State(list):
        pass

    gone = []
    state = State([1, 2])
    weakref.finalize(state, gone.append, True)
    row = [cupel.TokenModel.Row([1], state=state)]
    del state
    thread = threading.Thread(target=row.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert gone == [True]


def test_any_function_is_a_token_model(tiny, tokens):
    model = tiny()
    seen = []

    def function(ids):
        seen.append(ids)
        return model.logits(ids)

    wrapped = cupel.CallableTokenModel(
        function, vocabulary=96, max_length=64, fingerprint="f", dtype="float32"
    )
    assert torch.equal(wrapped.logits(tokens[0]), model.logits(tokens[:1])[0])
    assert seen[0].dtype == torch.int64 and list(seen[0].shape) == [1, 32]
    info = wrapped.info()
    assert (info.vocabulary, info.max_length, info.fingerprint) == (96, 64, "f")
    assert (info.device, info.has_states) == ("cpu", False)
    with pytest.raises(ValueError, match="keeps no states"):
        wrapped.prefill([1, 2])


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(VOCABULARY, 8)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, VOCABULARY)

    def forward(self, ids):
        assert not torch.is_grad_enabled()
        return self.head(self.drop(self.embed(ids).cumsum(1)))


def test_a_module_runs_in_evaluation_mode_and_gets_its_own_back():
    torch.manual_seed(0)
    module = Module().to(torch.bfloat16)
    module.head.eval()
    wrapped = cupel.CallableTokenModel(module, vocabulary=VOCABULARY, max_length=8)
    logits = wrapped.logits([1, 2, 3])
    assert torch.equal(logits, wrapped.logits([1, 2, 3])) and logits.dtype == torch.float32
    assert (wrapped.info().dtype, wrapped.info().device) == ("bfloat16", "cpu")
    assert [part.training for part in module.modules()] == [True, True, True, False]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda ids: None, TypeError, "the function returns logits"),
        (lambda ids: torch.zeros(1, 3, 5), ValueError, r"logits are \[3, 96\]. Got \[3, 5\]"),
        (lambda ids: torch.zeros(2, 3, 96), ValueError, r"logits are \[3, 96\]"),
    ],
)
def test_a_function_that_returns_something_else(function, error, message):
    wrapped = cupel.CallableTokenModel(function, vocabulary=96, max_length=8)
    with pytest.raises(error, match=message):
        wrapped.logits([1, 2, 3])


def test_what_is_no_model_is_refused_with_the_way_out(tokenizer_model):
    tokenizer = cupel.load_tokenizer(tokenizer_model)
    with pytest.raises(TypeError, match=r"cupel.CallableTokenModel\(f, vocabulary=, max_length=\)"):
        cupel.ModelScorer(lambda ids: ids, tokenizer)
    with pytest.raises(TypeError, match="Got a bare Module"):
        cupel.ModelScorer(Module(), tokenizer)
    with pytest.raises(TypeError, match="Got int"):
        cupel.ModelScorer(3, tokenizer)
    with pytest.raises(TypeError, match="a function or module is needed"):
        cupel.CallableTokenModel(3, vocabulary=1, max_length=1)
