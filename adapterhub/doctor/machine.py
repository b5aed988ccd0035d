"""The versions that decide what works, the devices, and the kernels that are chosen on them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from adapterhub.doctor.finding import Finding

PACKAGES = ("adapterhub", "torch", "transformers", "peft", "bitsandbytes", "huggingface-hub", "grpcio")
GIB = 1 << 30


def versions() -> Iterator[Finding]:
    """Python's and the libraries'."""
    yield Finding("versions", "python", platform.python_version())
    for name in PACKAGES:
        try:
            yield Finding("versions", name, version(name))
        except PackageNotFoundError:
            yield Finding("versions", name, "", "broken", "not installed")


def devices() -> Iterator[Finding]:
    """The CPU with its threads, and every CUDA device."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    yield Finding("devices", "cpu", f"{platform.machine()}, {capability}, {threads} threads (OMP_NUM_THREADS)")
    if not torch.cuda.is_available():
        yield Finding("devices", "cuda", "none; bases are held on the CPU")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding("devices", f"cuda:{index}", f"{device.name}, {device.total_memory / GIB:.1f} GiB")


def kernels() -> Iterator[Finding]:
    """What computes a base's linear layers, by how it is held, and what is the default."""
    import torch

    cuda = torch.cuda.is_available()
    yield Finding("kernels", "default", "nf4 in bf16, on CUDA" if cuda else "int8 in fp32, on the CPU")
    yield Finding(
        "kernels", "none", "torch, in bf16" if cuda else "torch, in fp32: without hardware for it bf16 is slower"
    )
    yield _native()
    if cuda:
        yield _triton()
    yield _int8_on_cuda() if cuda else _int8_on_cpu()
    yield _nf4(cuda)


def _native() -> Finding:
    """The CPU's own kernels, compiled now where that was not done before."""
    from adapterhub.ops import chosen_kernels

    chosen = chosen_kernels()
    if chosen.failed:
        problem = f"{chosen.reason}; with a C compiler the CPU serves several times faster"
        return Finding("kernels", "native", "none: torch computes", "warning", problem)
    return Finding("kernels", "native", chosen.reason if chosen.kernels else f"none: {chosen.reason}")


def _triton() -> Finding:
    """What adapters do to their rows on CUDA, compiled now and tried there."""
    import torch

    from adapterhub.ops import chosen_cuda_kernels

    chosen = chosen_cuda_kernels(torch.device("cuda"))
    if chosen.failed:
        problem = f"{chosen.reason}; with these kernels adapters share launches on CUDA"
        return Finding("kernels", "triton", "none: torch computes adapters", "warning", problem)
    return Finding("kernels", "triton", chosen.reason if chosen.kernels else f"none: {chosen.reason}")


def _int8_on_cuda() -> Finding:
    return Finding("kernels", "int8", "bitsandbytes LLM.int8")


def _int8_on_cpu() -> Finding:
    import torch

    from adapterhub.ops import chosen_kernels

    kernels = chosen_kernels().kernels
    if kernels and kernels.tile:
        return Finding("kernels", "int8", "native, scales per row, with avx512_vnni")

    features = torch.cpu.get_capabilities()
    has = [name for name in ("amx_int8", "avx512_vnni", "avx_vnni") if features.get(name)]
    if has or platform.machine().lower() not in ("x86_64", "amd64"):
        return Finding("kernels", "int8", f"torch._int_mm, scales per row{', with ' + ', '.join(has) if has else ''}")
    return Finding(
        "kernels",
        "int8",
        "torch._int_mm, scales per row, without VNNI",
        "warning",
        "this CPU multiplies integers slowly: --quantize none is faster here where the memory suffices",
    )


def _nf4(cuda: bool) -> Finding:
    """bitsandbytes loads its library when it is imported, and works badly or not at all without."""
    from bitsandbytes.cextension import BNBNativeLibrary, lib

    if not isinstance(lib, BNBNativeLibrary):
        return Finding("kernels", "nf4", "", "broken", "bitsandbytes has no native library for this machine")
    how = "4-bit matmul" if cuda else "dequantizes before every matmul: the same numbers on every CPU, in fp32"
    return Finding("kernels", "nf4", f"bitsandbytes, {how}")
