"""Regardless of earlier settings, a run rounds and selects kernels as in a fresh process. It restores the settings."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import quick

from aimlib.training import library_settings
from aimlib.training.library_settings import _DEFAULTS
from aimlib.training.reproducibility import reproducible

C: Any = torch._C
OPERATIONS = [
    (library, operation)
    for library in ("generic", "cuda", "mkldnn")
    for operation in ("all", "matmul", "conv", "rnn")
    if library != "generic" or operation == "all"
]
has_operations = hasattr(C, "_get_fp32_precision_getter")
PAIRS = [pair for pair in _DEFAULTS if hasattr(C, pair[0]) and hasattr(C, pair[1])]

ABOUT_KERNELS = re.compile(
    r"^_(cuda_|cudnn_)?set.*(cudnn|cublas|onednn|mkldnn|sdp|blas|linalg|precision|reduction|tf32|carveout|miopen"
    r"|nnpack|benchmark|workspace|accumulation|deterministic|sync_debug)|^_cuda_tunableop_enable$",
    re.IGNORECASE,
)
ELSEWHERE = {
    "_set_cudnn_enabled": "of torch.backends.cudnn",
    "_set_cudnn_benchmark": "of torch.backends.cudnn",
    "_set_cudnn_deterministic": "of torch.backends.cudnn",
    "_set_cudnn_allow_tf32": "with the precision of float32",
    "_set_cublas_allow_tf32": "with the precision of float32",
    "_set_float32_matmul_precision": "with the precision of float32",
    "_set_fp32_precision_setter": "the precision of float32, by operation",
    "_set_mkldnn_enabled": "of torch.backends.mkldnn",
    "_set_mkldnn_deterministic": "of torch.backends.mkldnn",
    "_set_deterministic_algorithms": "by aimlib.training.reproducibility",
    "_set_deterministic_fill_uninitialized_memory": "by aimlib.training.reproducibility",
    "_set_onednn_allow_tf32": "only for Intel GPUs, which no run uses",
    "_set_sdp_priority_order": "only the order in which equivalent kernels are tried; determinism rules out all "
    "but one",
    "_cuda_setCublasWorkspaceSize": "reset for every run",
    "_cuda_setCublasLtWorkspaceSize": "reset for every run",
    "_set_warn_on_accumulate_grad_stream_mismatch": "a warning",
}


def test_every_torch_setting_is_known() -> None:
    """If a torch version adds a setting, add the setting to `_DEFAULTS`, or to the list above with a reason."""
    found = {name for name in dir(C) if ABOUT_KERNELS.search(name)}
    assert found - {setter for _, setter, _ in _DEFAULTS} - set(ELSEWHERE) == set()
    assert len(found) > 20


def test_a_torch_version_that_imports_fewer_modules_has_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """In version 2.7, `import torch` does not import `torch.backends.opt_einsum`."""
    for module in (torch.backends, getattr(torch.backends, "m", None)):  # torch replaces the module with an object
        monkeypatch.delattr(module, "opt_einsum", raising=False)
    assert not hasattr(torch.backends, "opt_einsum")
    monkeypatch.delitem(sys.modules, "torch.backends.opt_einsum")
    spec = importlib.util.spec_from_file_location("settings_again", library_settings.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    wanted = [setting.wanted for setting in library_settings.kernel_settings()]
    assert [setting.wanted for setting in again.kernel_settings()] == wanted


def test_every_torch_operation_is_known() -> None:
    if not has_operations:
        pytest.skip("this torch knows no precision by operation")
    for library in ("generic", "cuda", "mkldnn"):
        for operation in ("all", "matmul", "conv", "rnn"):
            if (library, operation) in OPERATIONS:
                assert C._get_fp32_precision_getter(library, operation) in ("none", "ieee", "tf32", "bf16")
            else:
                with pytest.raises(RuntimeError, match="Invalid"):
                    C._get_fp32_precision_getter(library, operation)
    for owner in ("cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn", "mkldnn", "mkldnn.conv", "mkldnn.matmul", ""):
        module: Any = torch.backends
        for part in filter(None, owner.split(".")):
            module = getattr(module, part)
        assert isinstance(module.fp32_precision, str)


_CONTRADICTS = "contradicts the newer settings"


def reading() -> dict[str, Any]:
    """Return the settings that torch reports, as values for JSON."""
    found = {getter: plain(getattr(C, getter)()) for getter, _, _ in PAIRS}
    if has_operations:
        found |= {" ".join(each): C._get_fp32_precision_getter(*each) for each in OPERATIONS}
    for name, read in (
        ("cublas", C._get_cublas_allow_tf32),
        ("cudnn", C._get_cudnn_allow_tf32),
        ("matmul", torch.get_float32_matmul_precision),
    ):
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = _CONTRADICTS
    return found


def plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, (bool, int, str, type(None))) else str(value)


@pytest.fixture(scope="module")
def fresh() -> dict[str, dict[str, Any]]:
    """Return the settings of a fresh process before a run, and in runs with and without TF32."""
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); import test_library_settings as t\n"
        "found = {'before': t.reading()}\n"
        "for tf32 in (False, True):\n"
        "    with t.reproducible(threads=None, tf32=tf32): found[str(tf32)] = t.reading()\n"
        "print(json.dumps(found))\n"
    )
    places = json.dumps([str(folder) for folder in Path(__file__).parents[:2]])
    said = subprocess.run([sys.executable, "-c", code, places], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, Any]] = json.loads(said.stdout)
    return found


def test_a_run_has_the_settings_of_a_fresh_process(fresh: dict[str, dict[str, Any]]) -> None:
    for getter, _, _ in PAIRS:
        assert fresh["False"][getter] == fresh["before"][getter], getter
    if has_operations:
        of_gpus = [fresh["False"][f"cuda {operation}"] for operation in ("all", "matmul", "conv", "rnn")]
        assert set(of_gpus) <= {"none", "ieee"}
        assert [fresh["True"][f"cuda {operation}"] for operation in ("matmul", "conv", "rnn")] == ["tf32"] * 3
    assert (fresh["False"]["cublas"], fresh["False"]["cudnn"]) == (False, False)
    assert (fresh["True"]["cublas"], fresh["True"]["cudnn"]) == (True, True)


def other(value: Any) -> Any:
    """Return a different value that the same setting accepts."""
    if isinstance(value, tuple):
        return tuple(not part for part in value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return 4
    if isinstance(value, str):
        return "cudnn" if value == "auto" else "auto"
    members: dict[str, Any] = type(value).__members__
    return next(member for name, member in members.items() if member != value and name in ("Cusolver", "Cublaslt"))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1])
def test_a_setting_does_not_affect_a_run_and_is_restored(
    pair: tuple[str, str, Any], fresh: dict[str, dict[str, Any]]
) -> None:
    get, write = getattr(C, pair[0]), getattr(C, pair[1])
    before = get()
    strange = other(before)
    with reproducible(threads=None, tf32=False):  # restores everything that this test changes in its process
        try:
            write(*strange) if isinstance(strange, tuple) else write(strange)
        except RuntimeError as error:
            pytest.skip(str(error))
        assert get() == strange
        with reproducible(threads=None, tf32=False):
            assert reading() == fresh["False"]
            write(*strange) if isinstance(strange, tuple) else write(strange)
        assert get() == strange
    assert get() == before


def test_cublas_has_the_workspace_of_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(C, "_cuda_resetCublasWorkspaceSize"):
        pytest.skip("this torch reads it only from the environment")
    said: list[str] = []
    for name in ("_cuda_resetCublasWorkspaceSize", "_cuda_resetCublasLtWorkspaceSize"):
        monkeypatch.setattr(C, name, lambda name=name: said.append(name))
    with reproducible(threads=None, tf32=False):
        assert len(said) == 2
    assert len(said) == 4


PRECISIONS = {
    each: st.sampled_from(["none", "ieee", "tf32"] if each[0] == "cuda" else ["none", "ieee", "tf32", "bf16"])
    for each in OPERATIONS
}
CHANGES = st.one_of(
    *(st.tuples(st.just(each), values) for each, values in PRECISIONS.items()),
    st.tuples(st.sampled_from(["cublas", "cudnn"]), st.booleans()),
    st.tuples(st.just("matmul"), st.sampled_from(["highest", "high", "medium"])),
)


def change(what: Any, value: Any) -> None:
    if isinstance(what, tuple):
        C._set_fp32_precision_setter(*what, value)
    elif what == "matmul":
        torch.set_float32_matmul_precision(value)
    else:
        getattr(C, f"_set_{what}_allow_tf32")(value)


@pytest.mark.skipif(not has_operations, reason="this torch knows no precision by operation")
@quick
@given(found=st.lists(CHANGES, max_size=6), within=st.lists(CHANGES, max_size=6))
def test_no_precision_setting_affects_the_next_run(
    found: list[tuple[Any, Any]], within: list[tuple[Any, Any]], fresh: dict[str, dict[str, Any]]
) -> None:
    with reproducible(threads=None, tf32=False):
        for each in found:
            change(*each)
        before = reading()
        for tf32 in (False, True):
            with reproducible(threads=None, tf32=tf32):
                assert reading() == fresh[str(tf32)]
                for each in within:
                    change(*each)
        after = reading()
        assert {name for name in before if after[name] != before[name]} <= contradicting(before)
    assert reading() == fresh["before"]


def contradicting(found: dict[str, Any]) -> set[str]:
    """Return the older switches that torch refused to read; the newer settings, which take precedence, are restored."""
    return {name for name, value in found.items() if value == _CONTRADICTS}
