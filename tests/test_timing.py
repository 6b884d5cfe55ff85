"""Sampling, under a clock that the test winds."""

import dataclasses
from itertools import cycle

import pytest

from bench.metrics.latency import latency
from bench.metrics.throughput import throughput
from bench.protocol import preset
from bench.spec import Spec
from bench.timing import collect

PROTOCOL = dataclasses.replace(
    preset("quick", 1),
    warmup_calls=3,
    warmup_time=1.0,
    min_samples=8,
    min_time=4.0,
    max_time=20.0,
    target=0.02,
    window=2.0,
)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class FakeCase:
    """A case whose calls take scripted times; queued calls pass their time when synchronised."""

    def __init__(self, times, queued=False):
        self.clock = Clock()
        self.spec = Spec("m", batch=4)
        self.protocol = PROTOCOL
        self.times = iter(times)
        self.queued = queued
        self.pending = 0.0
        self.calls = 0

    def call(self):
        self.calls += 1
        self.pending += next(self.times)
        if not self.queued:
            self.synchronize()

    def synchronize(self):
        self.clock.now += self.pending
        self.pending = 0.0

    def once(self, function):
        return function(self)

    @property
    def seconds_per_call(self):
        return 0.5


def scripted(values, clock):
    values = iter(values)

    def draw():
        value = next(values)
        clock.now += abs(value) if value == value else 1.0
        return value

    return draw


def take(values, **kwargs):
    clock = Clock()
    return collect(scripted(values, clock), PROTOCOL, clock, **{"pressure": lambda: None, **kwargs})


def test_constant_samples_stop_at_the_minimum_time():
    samples, note = take(cycle([0.25]))
    assert len(samples) == 16  # 4 s of 0.25 s
    assert note == ""


def test_minimum_number_of_samples_holds():
    samples, _ = take(cycle([1.0]))
    assert len(samples) == 8


def test_noisy_samples_go_on_to_the_maximum_time_and_say_so():
    samples, note = take(cycle([0.5, 1.5]))
    assert sum(samples) == 20.0
    assert note == "interval wider than ±2.0% when 20 s were over"


def test_drift_does_not_pass_as_converged():
    samples, note = take(0.1 * 1.05**i for i in range(1000))
    assert sum(samples) >= PROTOCOL.max_time
    assert note


def test_one_outlier_is_kept_and_does_not_move_the_median():
    samples, note = take([0.25] * 5 + [3.0] + [0.25] * 1000)
    assert 3.0 in samples
    assert note == ""


def test_slow_calls_get_as_many_samples_as_an_interval_needs():
    samples, note = take(cycle([60.0]))
    assert len(samples) == 6
    assert note == ""


def test_nan_never_converges():
    samples, note = take(cycle([float("nan")]))
    assert len(samples) == 20
    assert note


def test_pressure_of_others_is_noted():
    pressures = iter([0.0, 0.5])
    assert "waited for a CPU" in take(cycle([0.25]), pressure=lambda: next(pressures))[1]
    pressures = iter([0.0, 0.3])
    assert take(cycle([0.25]), pressure=lambda: next(pressures))[1] == ""


def test_latency_samples_are_single_synchronised_calls():
    case = FakeCase(cycle([0.5, 0.25]), queued=True)
    samples = latency(case).samples
    assert set(samples) == {0.5, 0.25}
    assert case.calls == len(samples)


def test_throughput_samples_are_windows_of_queued_calls():
    case = FakeCase(cycle([0.5, 0.25]), queued=True)
    samples = throughput(case).samples
    assert case.calls == 4 * len(samples)  # windows of 2 s, estimated at 0.5 s a call
    assert samples == pytest.approx([4 * 4 / 1.5] * len(samples))  # 4 images a call, 1.5 s a window


def test_warm_up_lasts_both_its_calls_and_its_time():
    from bench.build import Case

    for time, calls in ((0.125, 8), (0.75, 3)):
        clock = Clock()
        case = Case(Spec("m"), PROTOCOL, clock)
        made = []

        def call(clock=clock, made=made, time=time):
            made.append(1)
            clock.now += time

        case.call = call
        assert case.seconds_per_call == pytest.approx(time)
        assert len(made) == 1 + calls  # the first call is not counted
