"""Spec and the axis grammar."""

import json

import pytest
from hypothesis import given

from bench.errors import UsageError
from bench.spec import Spec, parse
from tests.strategies import specs


@given(specs)
def test_json_round_trip_is_exact(spec):
    again = Spec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.id == spec.id
    assert hash(again) == hash(spec)


def test_id_is_stable_across_versions():
    # Literal on purpose: a change of these would orphan every stored record.
    assert Spec("sgformer_s").id == "35713babc5e2"
    assert Spec("sgformer_s", batch=8, size=(448, 448), precision="amp_bfloat16").id == "02389d403552"


@given(specs, specs)
def test_ids_are_equal_exactly_for_equal_specs(one, other):
    assert (one.id == other.id) == (one == other)


def test_model_arguments_in_any_order_are_the_same_experiment():
    one = Spec("m", model_args={"window": 7, "depth": 1})
    other = Spec("m", model_args=(("depth", 1), ("window", 7)))
    assert one == other
    assert one.id == other.id


def test_product_of_axes_with_models_outermost():
    request = parse(["a", "batch=1,8", "size=224,192x256", "b"])
    specs = request.specs(list(request.patterns), lambda model: (1, 1), "cpu")
    assert [(spec.model, spec.batch, spec.size) for spec in specs] == [
        (model, batch, size) for model in "ab" for batch in (1, 8) for size in ((224, 224), (192, 256))
    ]


def test_what_is_not_named_is_the_models_own_size_and_the_default_device():
    [spec] = parse(["a"]).specs(["a"], {"a": (384, 384)}.__getitem__, "cuda")
    assert (spec.size, spec.device) == ((384, 384), "cuda")


def test_repeated_values_are_one_experiment():
    assert len(parse(["a", "batch=1,1"]).specs(["a", "a"], lambda model: (1, 1), "cpu")) == 1


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("batch=0", "batch=0: want a positive whole number"),
        ("batch=-1", "batch=-1: want a positive whole number"),
        ("batch=1.5", "batch=1.5: want a positive whole number"),
        ("batch=²", "batch=²: want a positive whole number"),
        ("batch=", "batch=: a value is missing"),
        ("batch=1,,2", "a value is missing"),
        ("size=224x", "size=: want a positive whole number"),
        ("size=1x2x3", "size=2x3: want"),
        ("precision=fp16", "want one of float32, tf32, bfloat16, float16, amp_bfloat16, amp_float16"),
        ("mode=trian", "mode=trian (did you mean train or pretrain?): want one of infer, train, pretrain"),
        ("device=tpu", "device=tpu: want cpu, cuda, or cuda:N"),
        ("device=cuda:\u0661", "device=cuda:\u0661: want cpu"),
        ("device=cuda:", "device=cuda:: want cpu, cuda, or cuda:N"),
        ("batsh=1", "no axis 'batsh' (did you mean batch?); axes are batch, size"),
        ("=1", "no axis ''"),
    ],
)
def test_bad_words_name_the_value_and_what_is_allowed(word, says):
    with pytest.raises(UsageError) as error:
        parse(["a", word])
    assert says in str(error.value)


@pytest.mark.parametrize("words", [["batch=1", "batch=2"], ["metrics=macs", "metrics=params"]])
def test_an_axis_given_twice_is_refused(words):
    with pytest.raises(UsageError, match="is given twice"):
        parse(words)


def test_a_spec_refuses_what_the_grammar_refuses():
    for bad in ({"batch": True}, {"batch": 0}, {"size": (0, 1)}, {"precision": "half"}, {"device": "gpu"}):
        with pytest.raises(UsageError):
            Spec("m", **bad)


def test_the_first_gpu_has_one_name():
    assert Spec("m", device="cuda:0") == Spec("m", device="cuda")
    assert parse(["m", "device=cuda:0,cuda:01"]).axes["device"] == ("cuda", "cuda:1")
