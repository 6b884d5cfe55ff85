"""Hypothesis strategies for the central types."""

from hypothesis import strategies as st

from bench.protocol import PRESETS, preset
from bench.record import Record, Value
from bench.spec import ATTENTION, COMPILE, LAYOUTS, MODES, PRECISIONS, Spec

words = st.text(min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.integers(), st.booleans(), finite, words)

specs = st.builds(
    Spec,
    model=words,
    mode=st.sampled_from(MODES),
    batch=st.integers(1, 4096),
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    precision=st.sampled_from(PRECISIONS),
    device=st.sampled_from(["cpu", "cuda", "cuda:3"]),
    compile=st.sampled_from(COMPILE),
    attention=st.sampled_from(ATTENTION),
    layout=st.sampled_from(LAYOUTS),
    weights=st.sampled_from(["random", "pretrained", "a.pth@0123456789ab"]),
    images=st.sampled_from(["photographs", "noise", "a folder"]),
    model_args=st.dictionaries(words, scalars, max_size=3),
)
protocols = st.builds(preset, st.sampled_from(list(PRESETS)), st.integers(1, 64))
measured = st.builds(
    Value,
    metric=words,
    unit=words,
    value=st.one_of(finite, st.integers()),
    samples=st.lists(st.lists(finite, max_size=4), max_size=3),
    interval=st.none() | st.tuples(finite, finite),
    note=st.text(max_size=20),
    version=st.integers(1, 9),
    details=st.dictionaries(words, scalars | st.lists(finite, max_size=3), max_size=2),
)
missing = st.builds(
    Value, metric=words, unit=words, value=st.none(), status=st.sampled_from(["skipped", "failed"]), note=words
)


def records(environment):
    """Records measured in `environment`."""
    return st.builds(
        Record,
        spec=specs,
        protocol=protocols,
        environment=st.just(environment),
        values=st.lists(measured | missing, min_size=1, max_size=3).map(tuple),
        time=st.just("2026-11-21T05:10:00+00:00"),
        impl=st.none() | words,
        form=st.none() | words,
    )
