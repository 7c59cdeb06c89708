"""A run is limited to a share of a GPU's memory, and releases all of the memory at the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from pretended_cuda import GIB, PretendedCuda, accelerator_error
from tiny_runs import AIM, data_set, restored_registries, without_clock
from tiny_runs import run_config as any_config
from torch import Tensor, nn

import aimlib.training.loop
from aimlib.config import RunConfig
from aimlib.errors import UsageError
from aimlib.registry import backbones
from aimlib.testing.cuda_graphs import cuda_graphs_on_cpu
from aimlib.training.device_errors import failure_of
from aimlib.training.device_memory import limit_memory, limited_memory
from aimlib.training.loop import Paused, Run, train

GPU, SECOND, CPU = torch.device("cuda"), torch.device("cuda", 1), torch.device("cpu")


def run_config(**changes: Any) -> RunConfig:
    """Return the configuration of a run whose steps are not captured, because graphs are not available here."""
    return any_config(**{"training__step": "eager", **changes})


GIVEN_BACK = [("clearCublasWorkspaces",), ("emptyCache",)]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedCuda]:
    pretended = PretendedCuda()
    pretended.install(monkeypatch)
    with pretended.placing():
        yield pretended


def of_memory(cuda: PretendedCuda) -> list[tuple[Any, ...]]:
    """Return the calls that limited or released memory."""
    return cuda.named("setMemoryFraction", "clearCublasWorkspaces", "emptyCache")


# The share


def test_a_run_on_a_share_of_a_gpu_is_limited_to_it(cuda: PretendedCuda) -> None:
    """In an earlier version, `pick_device` returned a device without an index."""
    outcome = train(run_config(model=AIM), data_set(), device=GPU, memory_share=0.25)
    assert of_memory(cuda) == [("setMemoryFraction", 0.25, 0), ("setMemoryFraction", 1.0, 0), *GIVEN_BACK]
    on_cpu = train(run_config(model=AIM), data_set())
    found, expected = without_clock(outcome), without_clock(on_cpu)
    assert {name for name in found if found[name] != expected[name]} == {"data_on", "peak_device_bytes"}


def test_cuda_is_initialized_when_a_run_begins(cuda: PretendedCuda) -> None:
    """Until CUDA is initialized, torch's peak memory statistics refuse every device."""
    with pytest.raises(RuntimeError, match="Invalid device argument"):
        torch.cuda.reset_peak_memory_stats(SECOND)
    with limited_memory(SECOND, None):
        torch.cuda.reset_peak_memory_stats(SECOND)
    assert cuda.calls == [("resetPeakMemoryStats", 1), *GIVEN_BACK]


def test_the_share_refers_to_the_entire_device(cuda: PretendedCuda) -> None:
    train(run_config(), data_set(), device=SECOND, memory_share=0.5)
    torch.cuda._lazy_init()
    cuda.current = 1
    train(run_config(), data_set(), device=GPU, memory_share=0.5)
    of_second = [("setMemoryFraction", 0.5, 1), ("setMemoryFraction", 1.0, 1)]
    assert cuda.named("setMemoryFraction") == of_second * 2


def test_a_run_without_a_share_does_not_change_the_limit(cuda: PretendedCuda) -> None:
    torch.cuda._lazy_init()
    train(run_config(), data_set(), device=GPU)
    assert of_memory(cuda) == GIVEN_BACK


def test_the_cpu_has_no_limit(cuda: PretendedCuda) -> None:
    torch.cuda._lazy_init()
    limit_memory(CPU, 0.25)
    assert train(run_config(), data_set(), memory_share=0.5).status == "finished"
    assert cuda.calls == []


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_invalid_shares_are_refused(share: float, cuda: PretendedCuda) -> None:
    for device in (GPU, CPU):
        with pytest.raises(UsageError, match="greater than 0 and at most 1"):
            limit_memory(device, share)
        with pytest.raises(UsageError, match="memory_share"):
            train(run_config(), data_set(), device=device, memory_share=share)
    assert cuda.calls == []


def test_an_integer_share_is_accepted(cuda: PretendedCuda) -> None:
    limit_memory(SECOND, 1)
    assert cuda.calls == [("setMemoryFraction", 1.0, 1)]


def test_a_share_without_a_driver_is_reported() -> None:
    """The error that torch raises on a machine without a GPU is recognized."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises((RuntimeError, AssertionError)) as caught:
        train(run_config(), data_set(), device=GPU, memory_share=0.5)
    found = failure_of(caught.value)
    assert found is not None
    assert (found.kind, found.blame, found.context_lost) == ("device_error", "device", True)


# Release of memory


class Witness:
    """Tracks which objects of a run are still alive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.things: list[weakref.ref[Any]] = []
        self.found: list[list[str]] = []
        witness = self

        class Watched(Run):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                parameters = [weakref.ref(each) for each in self.network.parameters()]
                witness.things += [weakref.ref(self), weakref.ref(self.network), weakref.ref(self.optimizer)]
                witness.things += parameters

            def step(self, *arguments: Any) -> tuple[Tensor, Tensor]:
                taken = super().step(*arguments)
                state = [value for values in self.optimizer.state.values() for value in values.values()]
                gradients = [parameter.grad for parameter in self.network.parameters()]
                witness.things += [weakref.ref(each) for each in (*state, *gradients) if isinstance(each, Tensor)]
                return taken

        monkeypatch.setattr(aimlib.training.loop, "Run", Watched)

    def look(self) -> None:
        self.found.append([type(thing()).__name__ for thing in self.things if thing() is not None])


@pytest.fixture
def witness(cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
    """Record which objects are alive when the allocator is told to release memory, without prior garbage collection."""
    found = Witness(monkeypatch)
    cuda.on_empty = found.look
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
    gc.disable()
    yield found
    gc.enable()


def fail_with(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> bool:
        raise error

    return fail


MOMENTUM = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}
ENDS: dict[str, tuple[dict[str, Any], type[BaseException] | None]] = {
    "finished": ({}, None),
    "paused": ({"pause": lambda: True}, Paused),
    "an error of a step": ({"pause": fail_with(ValueError("x"))}, ValueError),
    "an error of an epoch": ({"on_epoch": fail_with(KeyError("x"))}, KeyError),
    "out of memory": ({"pause": fail_with(torch.OutOfMemoryError("CUDA out of memory"))}, torch.OutOfMemoryError),
    "interrupted": ({"pause": fail_with(KeyboardInterrupt())}, KeyboardInterrupt),
}


@pytest.mark.parametrize("end", ENDS)
def test_no_objects_of_a_run_remain_after_its_memory_is_released(
    end: str, witness: Witness, cuda: PretendedCuda
) -> None:
    options, error = ENDS[end]
    config = run_config(model=AIM, training__optimizer=MOMENTUM)
    if error is None:
        train(config, data_set(), device=GPU, **options)
    else:
        with pytest.raises(error) as caught:
            train(config, data_set(), device=GPU, memory_share=0.5, **options)
        assert "_train_epoch" in str(caught.getrepr(style="short")) or end == "an error of an epoch"
    assert len(witness.things) > 20
    assert witness.found == [[]]


def test_no_objects_of_a_diverged_run_remain(witness: Witness) -> None:
    config = run_config(model=AIM, training__optimizer={"name": "sgd", "learning_rate": 1e30})
    assert train(config, data_set(), device=GPU).status == "diverged"
    assert len(witness.things) > 20
    assert witness.found == [[]]


def test_no_objects_of_a_failing_network_remain(witness: Witness) -> None:
    """No objects remain, although the error itself references the network and is wrapped in another error."""
    with restored_registries():

        class Failing(nn.Flatten):
            def forward(self, x: Tensor) -> Tensor:
                try:
                    return self.mising(x)  # type: ignore[no-any-return]
                except AttributeError as error:
                    raise ExceptionGroup("both", [error, ValueError("other")]) from error

        @backbones.register("failing")
        class Backbone(backbones.get("mlp")):  # type: ignore[misc]
            def build(self, shape: Any) -> nn.Module:
                return nn.Sequential(super().build(shape), Failing())

        with pytest.raises(ExceptionGroup) as caught:
            train(run_config(model={"backbone": "failing"}), data_set(), device=GPU)
    (error, _) = caught.value.exceptions
    assert str(error) == "'Failing' object has no attribute 'mising'"
    assert witness.things
    assert witness.found == [[]]


def test_a_network_that_references_itself_is_garbage_collected(
    cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = Witness(monkeypatch)
    cuda.on_empty = witness.look
    with restored_registries():

        @backbones.register("selfish")
        class Selfish(backbones.get("mlp")):  # type: ignore[misc]
            def build(self, shape: Any) -> nn.Module:
                network: nn.Module = super().build(shape)
                network.register_forward_hook(lambda *_: network and None)
                return network

        train(run_config(model={"backbone": "selfish"}), data_set(), device=GPU)
    assert witness.things
    assert witness.found == [[]]


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_no_objects_of_the_steps_remain(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the step nor its graph's memory remains, even without prior garbage collection."""
    witness, steps = Witness(monkeypatch), []

    def pause() -> bool:
        (run,) = (thing() for thing in witness.things if isinstance(thing(), Run))
        steps.append(weakref.ref(run._step))
        return False

    gc.disable()
    try:
        with cuda_graphs_on_cpu():
            train(any_config(model=AIM, training__step=mode), data_set(), pause=pause)
            witness.look()
    finally:
        gc.enable()
    assert steps
    assert [step() for step in steps] == [None] * len(steps)
    assert witness.found == [[]]


def test_the_variables_of_a_cpu_run_are_kept_for_a_debugger() -> None:
    with pytest.raises(ValueError, match="x") as caught:
        train(run_config(), data_set(), pause=fail_with(ValueError("x")))
    frames = [entry.frame.f_locals for entry in caught.traceback]
    assert any(isinstance(variables.get("run"), Run) for variables in frames)


# Lost contexts


class LosesTheContext:
    """Fails in the second step and makes every later call to the device fail as well."""

    def __init__(self, cuda: PretendedCuda, error: BaseException) -> None:
        self.cuda, self.error, self.steps = cuda, error, 0

    def __call__(self) -> bool:
        self.steps += 1
        if self.steps == 2:
            self.cuda.error = self.error
            self.cuda.calls.clear()
            raise self.error
        return False


def test_a_lost_context_is_not_used_again(cuda: PretendedCuda, witness: Witness) -> None:
    """Freeing one of the run's tensors could abort the process, which must first report how the run ended."""
    error = accelerator_error(700, "an illegal memory access was encountered")
    with pytest.raises(type(error)) as caught:
        train(run_config(), data_set(), device=GPU, memory_share=0.5, pause=LosesTheContext(cuda, error))
    assert caught.value is error
    found = failure_of(error)
    assert found is not None
    assert (found.kind, found.context_lost) == ("device_error", True)
    assert cuda.calls == []
    del caught, error
    cuda.error = None
    assert any(isinstance(thing(), nn.Module) for thing in witness.things), "kept forever"


def test_generators_that_cannot_be_restored_do_not_hide_the_error(
    cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the context is lost, restoring the generators fails as well, but all other settings are restored."""
    torch.cuda._lazy_init()
    error = accelerator_error(710, "device-side assert triggered")
    with pytest.raises(type(error)) as caught:
        train(run_config(), data_set(), device=GPU, pause=BreaksGenerators(cuda, error, monkeypatch))
    assert caught.value is error
    found = failure_of(error)
    assert found is not None
    assert (found.kind, found.blame, found.context_lost) == ("device_assert", "user", True)
    assert not torch.are_deterministic_algorithms_enabled()


class BreaksGenerators(LosesTheContext):
    def __init__(self, cuda: PretendedCuda, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(cuda, error)
        self.patch = monkeypatch

    def __call__(self) -> bool:
        error = self.error

        class Broken:
            def set_state(self, _: Tensor) -> None:
                raise error.with_traceback(None) from None

            get_state = manual_seed = set_state

        self.patch.setattr(torch.cuda, "default_generators", (Broken(), Broken()))
        return super().__call__()


def test_a_fault_after_the_end_of_a_run_does_not_affect_it(cuda: PretendedCuda) -> None:
    def lose() -> None:
        cuda.error = accelerator_error(719, "unspecified launch failure")

    cuda.on_empty = lose
    assert train(run_config(), data_set(), device=GPU, memory_share=0.5).status == "finished"


def test_memory_that_other_processes_use_is_reported(cuda: PretendedCuda) -> None:
    cuda.free, cuda.reserved = GIB, 10 * GIB
    with pytest.raises(torch.OutOfMemoryError) as caught:
        train(run_config(), data_set(), device=GPU, pause=fail_with(torch.OutOfMemoryError("CUDA out of memory")))
    found = failure_of(caught.value)
    assert found is not None
    assert (found.kind, found.held_by_others, found.blame) == ("out_of_memory", True, "device")
    assert not found.context_lost
    assert cuda.calls[-2:] == GIVEN_BACK


def test_memory_is_measured_before_it_is_released(cuda: PretendedCuda) -> None:
    """An engine is not found because too little memory is free; after the run, the memory is free again."""
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    seen: list[Mapping[str, Any]] = []

    def much() -> None:
        cuda.free = 75 * GIB
        seen.append({"free": cuda.free})

    cuda.free, cuda.on_empty = GIB // 2, much
    with pytest.raises(RuntimeError, match="GET was unable") as caught:
        train(run_config(), data_set(), device=GPU, pause=fail_with(error))
    found = failure_of(caught.value)
    assert found is not None
    assert found.kind == "out_of_memory"
    assert seen
