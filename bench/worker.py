"""A worker: a fresh process that measures what it is asked, and whose death costs only what it was measuring.

Parent and worker talk over a pipe in plain values. The parent blocks in `connection.wait`; it never polls.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import plugins
from bench.environment import Environment, capture
from bench.errors import Skip, one_line
from bench.protocol import Protocol
from bench.record import Value
from bench.spec import Spec

_COMPILERS_CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Answer:
    """What came back. death says why the worker answered no further, empty if it did."""

    values: dict[str, Value] = field(default_factory=dict)
    environment: Environment | None = None
    in_force: dict[str, str | None] = field(default_factory=dict)  # Record fields: impl, form
    death: str = ""

    @property
    def sound(self) -> bool:
        """Whether all is well, so that a repetition can be expected to say something."""
        return not self.death and all(value.status == "ok" for value in self.values.values())


class Worker:
    """The parent's side. register names plugins (modules or files) that the worker loads first: they register models
    with timm."""

    def __init__(self, register: Sequence[str] = ()) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vitbench-"))
        self._log = self._folder / "log"
        self._log.touch()
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, self._folder, tuple(register)), daemon=True)
        with _interrupts_blocked():  # inherited: Ctrl-C reaches the parent alone, which then ends the worker
            self._process.start()
        theirs.close()

    def ask(
        self, spec: Spec, metrics: Sequence[str], protocol: Protocol, on_start: Callable[[str], None] = lambda _: None
    ) -> Answer:
        """Measure `metrics` of `spec`; on_start hears the name of each as it begins. Never raises for the worker."""
        answer = Answer()
        deadline = time.monotonic() + protocol.time_limit
        try:
            self._pipe.send((spec.to_dict(), list(metrics), protocol.to_dict()))
            while True:
                left = deadline - time.monotonic()
                if not (left > 0 and wait([self._pipe, self._process.sentinel], timeout=left)):
                    self.close(grace=0)
                    answer.death = f"stopped at the time limit of {protocol.time_limit:g} s"
                    return answer
                if not self._pipe.poll():  # dead, though a process that it left behind may hold the pipe open
                    raise EOFError
                kind, content = self._pipe.recv()
                if kind == "start":
                    on_start(content)
                elif kind == "value":
                    value = Value.from_dict(content)
                    answer.values[value.metric] = value
                elif kind == "error":
                    answer.death = content
                    return answer
                else:
                    answer.environment = Environment.from_dict(content["environment"])
                    answer.in_force = content["in_force"]
                    return answer
        except (EOFError, OSError):
            answer.death = self._cause_of_death()
            return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if error is None else self.close(grace=0)

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.is_alive()

    def close(self, grace: float = 5.0) -> None:
        """Hang up, at which an idle worker ends by itself and tidies up; kill it after `grace` seconds."""
        self._pipe.close()
        self._process.join(grace)
        self._process.kill()
        self._process.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _cause_of_death(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        cause = (
            f"the worker was killed by {signal.Signals(-code).name}" if code < 0 else f"the worker exited with {code}"
        )
        if code == -signal.SIGKILL:
            cause += " (by hand, or by the system when memory runs out)"
        last = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()][-1:]
        return ": ".join([cause, *last])


def _serve(pipe: Connection, folder: Path, register: Sequence[str]) -> None:
    """The worker's side: answer requests until the parent hangs up."""
    descriptor = os.open(folder / "log", os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    threading.Thread(target=_die_with_parent, args=(folder,), daemon=True).start()
    for variable in _COMPILERS_CACHES:  # empty ones: what another process compiled would make the first call look quick
        os.environ[variable] = str(folder / variable.lower())
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request = pipe.recv()
            try:
                _answer(pipe, register, *request)
            except Exception as error:  # what goes wrong outside a metric, such as a module that cannot be imported
                pipe.send(("error", one_line(error)))


def _answer(
    pipe: Connection,
    register: Sequence[str],
    spec_data: dict[str, Any],
    metrics: list[str],
    protocol_data: dict[str, Any],
) -> None:
    # Imported here: the parent imports this module too, and needs no torch to send a request.
    import torch
    from threadpoolctl import threadpool_limits

    from bench.build import Case
    from bench.metrics import select
    from bench.precision import set_switches

    for plugin in register:
        plugins.load(plugin)
    spec, protocol = Spec.from_dict(spec_data), Protocol.from_dict(protocol_data)
    torch.set_num_threads(protocol.threads)
    with contextlib.suppress(Skip):  # a precision that the device has not: the metrics will say so
        set_switches(spec)
    with threadpool_limits(protocol.threads):
        case = Case(spec, protocol)
        for metric in select(metrics):
            pipe.send(("start", metric.name))
            pipe.send(("value", metric.measure(case).to_dict()))
        environment = capture(spec.device, protocol.threads, plugins.sources(register, spec.model))
    try:
        in_force = {"impl": case.impl, "form": case.form}
    except Exception:  # a model that cannot be built has none; its metrics have said why
        in_force = {}
    pipe.send(("done", {"environment": environment.to_dict(), "in_force": in_force}))


def _die_with_parent(folder: Path) -> None:
    """A worker whose parent is gone measures for nobody and disturbs the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
