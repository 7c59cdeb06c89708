"""Global torch settings that determine which kernels are used and how they round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.backends.opt_einsum  # torch 2.7 imports it only for the first contraction


class Setting(NamedTuple):
    """A global setting: how it is read and written, and its value during a run."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]
    wanted: Any


def flag(owner: Any, name: str, wanted: Any) -> Setting:
    """Return an attribute as a setting."""
    return Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), wanted)


def kernel_settings() -> Iterator[Setting]:
    """Yield the settings that select kernels on the GPU and the CPU, or let kernels accumulate in fewer bits."""
    yield flag(torch.backends.cudnn, "enabled", True)
    yield flag(torch.backends.cudnn, "benchmark", False)
    yield flag(torch.backends.cudnn, "deterministic", True)
    yield flag(torch.backends.mkldnn, "enabled", True)
    yield flag(torch.backends.mkldnn, "deterministic", False)
    if torch.backends.opt_einsum.is_available():
        yield flag(torch.backends.opt_einsum, "enabled", True)
        yield flag(torch.backends.opt_einsum, "strategy", "auto")
    mha: Any = torch.backends.mha
    yield Setting(mha.get_fastpath_enabled, mha.set_fastpath_enabled, True)
    for getter, setter, wanted in _DEFAULTS:
        if hasattr(torch._C, getter) and hasattr(torch._C, setter):
            yield _of_torch(getattr(torch._C, getter), getattr(torch._C, setter), wanted)
    for reset in ("_cuda_resetCublasWorkspaceSize", "_cuda_resetCublasLtWorkspaceSize"):
        if hasattr(torch._C, reset):  # reading the size would initialize CUDA; a fresh process has none
            yield Setting(lambda: None, _calling(getattr(torch._C, reset)), None)


def _calling(reset: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda _: reset()


_DEFAULTS: tuple[tuple[str, str, Any], ...] = (
    ("_cuda_get_cudnn_benchmark_limit", "_cuda_set_cudnn_benchmark_limit", 10),
    ("_cuda_get_conv_benchmark_empty_cache", "_cudnn_set_conv_benchmark_empty_cache", True),
    ("_get_cudnn_depthwise_kernel", "_set_cudnn_depthwise_kernel", "auto"),
    ("_get_cublas_allow_fp16_reduced_precision_reduction", "_set_cublas_allow_fp16_reduced_precision_reduction", True),
    ("_get_cublas_allow_bf16_reduced_precision_reduction", "_set_cublas_allow_bf16_reduced_precision_reduction", True),
    ("_get_cublas_allow_fp16_accumulation", "_set_cublas_allow_fp16_accumulation", False),
    ("_get_cublaslt_prefer_grouped_gemm", "_set_cublaslt_prefer_grouped_gemm", False),
    ("_get_cpu_allow_fp16_reduced_precision_reduction", "_set_cpu_allow_fp16_reduced_precision_reduction", False),
    ("_get_sm_carveout_experimental", "_set_sm_carveout_experimental", None),
    ("_get_linalg_preferred_backend", "_set_linalg_preferred_backend", torch._C._LinalgBackend.Default),
    ("_get_blas_preferred_backend", "_set_blas_preferred_backend", torch._C._BlasBackend.Default),
    ("_get_flash_sdp_enabled", "_set_sdp_use_flash", True),
    ("_get_mem_efficient_sdp_enabled", "_set_sdp_use_mem_efficient", True),
    ("_get_math_sdp_enabled", "_set_sdp_use_math", True),
    ("_get_cudnn_sdp_enabled", "_set_sdp_use_cudnn", True),
    ("_get_overrideable_sdp_enabled", "_set_sdp_use_overrideable", True),
    ("_get_fa3_sdp_enabled", "_set_sdp_use_fa3", False),
    ("_get_math_sdp_allow_fp16_bf16_reduction", "_set_math_sdp_allow_fp16_bf16_reduction", False),
    ("_get_nnpack_enabled", "_set_nnpack_enabled", True),
    ("_get_miopen_immediate", "_set_miopen_immediate", False),
    ("_cuda_tunableop_is_enabled", "_cuda_tunableop_enable", False),
    ("_cuda_get_sync_debug_mode", "_cuda_set_sync_debug_mode", 0),
)
"""Functions in torch._C that read and write a setting, and the setting's value in a fresh process; not every torch
version has all of them."""


def _of_torch(get: Callable[[], Any], write: Callable[..., Any], wanted: Any) -> Setting:
    """Return the setting; if it consists of several values, `wanted` applies to each of them."""
    found = get()

    def put(value: Any) -> None:
        if get() != value:  # some setters warn that they are experimental
            write(*value) if isinstance(value, tuple) else write(value)

    return Setting(get, put, (wanted,) * len(found) if isinstance(found, tuple) else wanted)


def precision_settings(tf32: bool) -> Iterator[Setting]:
    """Yield the settings for the rounding of float32 products.

    These are the settings per operation, if this version of torch has them, and the older switches.

    Setting an older switch also changes the newer settings. The newer settings are therefore set first and restored
    last.
    """
    if hasattr(torch._C, "_get_fp32_precision_getter"):
        yield Setting(_precisions, _set_precisions, dict.fromkeys(_OPERATIONS, "none"))
    yield _older(Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"))
    yield _older(flag(torch.backends.cuda.matmul, "allow_tf32", tf32))
    yield _older(flag(torch.backends.cudnn, "allow_tf32", tf32))


_OPERATIONS = (
    ("generic", "all"),
    *((library, operation) for library in ("cuda", "mkldnn") for operation in ("all", "matmul", "conv", "rnn")),
)
"""Libraries and their operations, with torch's names. An operation without its own setting follows the setting ``all``
of its library or, if there is none, the generic setting ``all``."""


def _precisions() -> dict[tuple[str, str], str]:
    """Return the setting of every operation.

    The value is ``none`` for an operation that follows a different setting, although torch reports that setting's
    value.
    """
    found = {}
    for operation in _OPERATIONS:
        found[operation] = torch._C._get_fp32_precision_getter(*operation)
        if operation[1] == "all":
            torch._C._set_fp32_precision_setter(*operation, "none")
    _set_precisions(found)
    return found


def _set_precisions(wanted: dict[tuple[str, str], str]) -> None:
    for operation, precision in wanted.items():
        torch._C._set_fp32_precision_setter(*operation, precision)


def _older(setting: Setting) -> Setting:
    """Return an older switch, which torch refuses to read while the switch contradicts the newer settings.

    In that case, the switch is not restored.
    """

    def get() -> Any:
        try:
            return setting.get()
        except RuntimeError:
            return None

    return Setting(get, lambda value: None if value is None else setting.put(value), setting.wanted)
