"""Choice of device, precision and threads; seeds; what machine this is."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import platform
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tutelage.store.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16", "float8"]
PRECISION_VARIABLE = "TUTELAGE_PRECISION"  # overrides what `auto` means
CLEARLY_FASTER = 1.3  # below this speed-up, bfloat16 is not worth its rounding

# MKL's exp, log, cos ... are initialised by their first call in a process. If two threads make that call at once, one
# of them may compute its half with about 13 bits (seen in 3 of 100 processes). So a single thread makes it here.
torch.ones(1).exp()


def choose_device(name: str = "auto") -> torch.device:
    """The device; `auto`: the GPU, if there is one. Raises ConfigError for a device that this machine lacks."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch finds no GPU", hint="use device: auto or cpu")
    return torch.device(name)


def choose_precision(name: Precision, device: torch.device) -> torch.dtype:
    """Dtype of autocast. `auto` is decided by `auto_precision`.

    A resumed run must not decide again: see `training.precision`.
    """
    if name == "auto":
        name = auto_precision(device)[0]
    return torch.float32 if name == "float32" else torch.bfloat16  # also with float8 products


def auto_precision(device: torch.device) -> tuple[Literal["float32", "bfloat16"], str]:
    """What `auto` means on this machine, and why.

    TUTELAGE_PRECISION (float32 or bfloat16) decides if it is set; otherwise a measurement, made once per process and
    device. Raises ConfigError for another value of the variable.
    """
    match os.environ.get(PRECISION_VARIABLE, ""):
        case "":
            if not bfloat16_works(str(device)):
                return "float32", "attention in bfloat16 does not work with this torch on this processor"
            gain = _bfloat16_gain(str(device))
            chosen: Literal["float32", "bfloat16"] = "bfloat16" if gain >= CLEARLY_FASTER else "float32"
            return chosen, f"bfloat16 matrix products are {gain:.2g} times as fast as float32 here"
        case ("float32" | "bfloat16") as chosen:
            return chosen, f"set by {PRECISION_VARIABLE}"
        case other:
            raise ConfigError(f"{PRECISION_VARIABLE} is {other!r}", hint="set it to float32 or bfloat16, or unset it")


@functools.cache
def bfloat16_works(name: str) -> bool:
    """Whether bfloat16 attention works: with AMX and a lower ATEN_CPU_CAPABILITY torch 2.13 fails from 64 positions."""
    one = torch.ones(1, 1, 64, 8, dtype=torch.bfloat16, device=name, requires_grad=True)
    try:
        torch.nn.functional.scaled_dot_product_attention(one, one, one, is_causal=True).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True


@functools.cache
def _bfloat16_gain(name: str) -> float:
    """Speed of bfloat16 products relative to float32; takes about 0.1 s, up to 1 s if they are emulated."""
    rates = {dtype: measure_gemm(0.03, 512, name, dtype) for dtype in (torch.float32, torch.bfloat16)}
    return rates[torch.bfloat16] / rates[torch.float32]


def set_threads(threads: int, processes: int = 1) -> int:
    """Use `threads` CPU threads (0: all this process may use, shared with the others here); returns the number."""
    count = threads or max(1, len(os.sched_getaffinity(0)) // processes)
    torch.set_num_threads(count)
    return count


def measure_gemm(
    seconds: float = 0.3, size: int = 768, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> float:
    """FLOP/s of matrix products on this machine at torch's thread count: the median of what fits the time."""
    device = torch.device(device)
    if device.type == "cuda":
        size = max(size, 4096)
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    (a @ b).sum().item()  # first call starts the threads
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not rates:
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        rates.append(2 * size**3 / (time.perf_counter() - start))
    return sorted(rates)[len(rates) // 2]


# Dense bfloat16 FLOP/s by the name of the GPU, from the vendors' data sheets (not the figures with sparsity).
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12,
         "A10G": 70e12, "RTX 4090": 165e12, "V100": 112e12, "T4": 65e12}  # fmt: skip


def ceiling(device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """FLOP/s that nothing here exceeds, and what it is: a GPU's data sheet (`MFU`) or a measured product (`GEMM`)."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, peak in PEAKS.items():
            if part in name:
                return peak, "MFU"
    return measure_gemm(0.2, device=device, dtype=dtype), "GEMM"


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def machine() -> dict[str, Any]:
    """Facts about this machine for a manifest."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def available_memory() -> float:
    """Bytes of memory available to this process: on the machine, or in its control group if that has less."""
    free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = 1024 * float(line.split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max" means no limit
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        free = min(free, max(0.0, limit - float(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))))
    return free


def keep_freed_memory() -> None:
    """From now on keep freed memory in the process, for allocations below 32 MiB (glibc; no effect elsewhere).

    Steps allocate and free the same sizes again and again; memory returned to the system in between must be cleared and
    mapped again page by page, which costs a twelfth of the speed. The peak does not change. Call `return_freed_memory`
    at the end.
    """
    _mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    _mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def return_freed_memory() -> None:
    """Return freed memory of Python, of Arrow if loaded, and of the C library (glibc) to the system.

    Otherwise memory that they keep (of a corpus or of activations) would count in every later stage.
    """
    gc.collect()
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def return_large_pieces() -> None:
    """From now on return allocations of 256 KiB or more to the system when they are freed (glibc; no effect elsewhere).

    By default glibc raises this threshold to the largest freed size, which leads to fragmentation: a quarter of the
    memory in training with 4-bit weights, where many large buffers are allocated and freed.
    """
    _mallopt(_M_MMAP_THRESHOLD, 1 << 18)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def _mallopt(setting: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(setting, value)


def reset_peak_memory() -> bool:
    """Reset the peak memory of this process; False if unsupported (other than Linux), where the peak of the whole run
    counts."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory_mb() -> int:
    """Peak resident memory of this process since the last reset, in MiB."""
    return _status("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def memory_mb() -> int:
    """Current resident memory of this process in MiB; its peak if unknown."""
    return _status("VmRSS:") or peak_memory_mb()


def _status(key: str) -> int:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return 0
