"""What kind of error comes of what, and what it says."""

import cupel
import pytest
import torch


def test_types():
    assert issubclass(cupel.FormatError, ValueError)
    assert issubclass(cupel.NumericalError, ArithmeticError)
    assert not issubclass(cupel.NumericalError, ValueError)


def test_format_error_says_which_file_where_and_why(tmp_path):
    path = tmp_path / "bad.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(cupel.FormatError) as caught:
        cupel.read_safetensors(path)
    assert caught.value.file == str(path)
    assert "w" in caught.value.where
    assert caught.value.rule and caught.value.rule in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_folder_is_a_format_error(tmp_path):
    with pytest.raises(cupel.FormatError, match="does not exist"):
        cupel.load_model(tmp_path / "nothing")


def test_a_mistake_of_the_caller_is_a_plain_value_error():
    with pytest.raises(
        ValueError, match=r"\[unstructured\].*fraction in \[0, 1\]. Got 50"
    ) as caught:
        cupel.unstructured(50)
    assert type(caught.value) is ValueError
    with pytest.raises(ValueError, match="0 <= n <= m"):
        cupel.n_of_m(3, 2)
    with pytest.raises(ValueError, match="known: magnitude, ria, wanda"):
        cupel.Prune("wander", cupel.unstructured(0.5))
    with pytest.raises(ValueError, match="bits"):
        cupel.Grid(bits=9)


def test_shapes_and_layer_are_in_the_message():
    with pytest.raises(ValueError, match=r"multiple of 4. Got weight \[3, 6\] in q_proj"):
        cupel.Prune("magnitude", cupel.n_of_m(2, 4)).compress(torch.ones(3, 6), name="q_proj")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(bad):
    weight = torch.ones(4, 8)
    weight[2, 3] = bad
    with pytest.raises(cupel.NumericalError, match="layer7"):
        cupel.Rtn(cupel.Grid()).compress(weight, name="layer7")


def test_activations_that_are_no_numbers():
    x = torch.ones(5, 8)
    x[4, 1] = float("inf")
    with pytest.raises(cupel.NumericalError, match="q_proj"):
        cupel.InputStats(8).add(x, layer="q_proj")


def test_no_tokens_is_a_numerical_error():
    with pytest.raises(cupel.NumericalError):
        cupel.InputStats(8).hessian()
    with pytest.raises(cupel.NumericalError):
        cupel.Prune("wanda", cupel.unstructured(0.5)).compress(
            torch.ones(4, 8), cupel.InputStats(8)
        )


def test_ids_outside_the_vocabulary(tiny):
    with pytest.raises(ValueError, match="96"):
        tiny().logits(torch.tensor([[1, 96]]))


def test_a_name_is_registered_once_unless_replaced():
    cupel.criterion("test_errors_twice")(lambda weight, stats: weight)
    try:
        with pytest.raises(ValueError, match="replace=True"):
            cupel.criterion("test_errors_twice")(lambda weight, stats: weight)
        newer = cupel.criterion("test_errors_twice", replace=True)(lambda weight, stats: -weight)
        assert isinstance(newer, cupel.Criterion)
        made = cupel.Prune("test_errors_twice", cupel.unstructured(0.5))
        assert torch.equal(
            made.compress(torch.tensor([[1.0, 2.0]])).weight, torch.tensor([[1.0, 0]])
        )
    finally:
        cupel.remove_criterion("test_errors_twice")
    assert "test_errors_twice" not in cupel.criteria()


@pytest.mark.parametrize("what", [None, "gpt2", 3, object()])
def test_what_is_no_tokenizer_is_told_what_is(what, tmp_path):
    (tmp_path / "text.txt").write_text("some text")
    with pytest.raises(TypeError, match="transformers or a tokenizers.Tokenizer. Got"):
        cupel.sample_windows(tmp_path / "text.txt", what, samples=1, length=2)
