"""The machine: what it is, how many bytes it moves in a second, and how fast a step could be at best."""

from __future__ import annotations

import math
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

import hina_func as hf

from .workloads import Shapes

PACKAGES = ("hina_func", "torch", "torchopt", "heavyball", "pytorch_optimizer", "torchao")

FLOAT = 4
ADAMW = 7 * FLOAT
"""Bytes of AdamW for each parameter: p, g, m and v are read, p, m and v written."""

ANCHOR = FLOAT
"""SPD outside adapters also reads where the parameter began."""

LARGE = 13 * FLOAT
"""Bytes of the full chain where a tensor does not stay in a cache, so that what needs its sums reads it again.

The sum of |g| for AGR reads g; the cosine for TAM g, m and v; the update is AdamW's 28 bytes; SPD takes p up again.
"""

LARGE_ANCHOR = 2 * FLOAT
"""There the anchor is read twice: for the sums and for the step back."""


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def caches(device: str) -> dict[str, int]:
    """Bytes of each level of cache; empty where the system does not say."""
    if device == "cuda":
        return {"L2": torch.cuda.get_device_properties(0).L2_cache_size}
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = int(size.removesuffix("K")) * 1024
    return found


def memory(device: str) -> int:
    """Bytes of memory that tensors may fill."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def bandwidth(device: str, elements: int = 2**26, repeats: int = 9) -> float:
    """Bytes per second of ``a += alpha * b`` on arrays of 256 MB: two are read, one is written."""
    a, b = torch.ones(elements, device=device), torch.ones(elements, device=device)
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        start = perf_counter()
        a.add_(b, alpha=1e-3)
        synchronize(device)
        seconds.append(perf_counter() - start)
    return 3 * FLOAT * elements / median(seconds)


def describe(device: str, threads: int) -> dict[str, Any]:
    """One sitting at one machine, taken before anything is timed."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "device": device,
        "device_name": device_name(device),
        "processor": device_name("cpu"),
        "cores": os.cpu_count(),
        "threads": threads,
        "caches": caches(device),
        "memory": memory(device),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "bytes_per_second": bandwidth(device),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def adamw_bytes(shapes: Shapes) -> int:
    """The least that AdamW moves between memory and processor in a step."""
    return ADAMW * sum(map(math.prod, shapes.values()))


def full_chain_bytes(shapes: Shapes, cache: float) -> int:
    """The least that HinaAdamW with every trick moves, if a tensor with all that belongs to it stays in ``cache``."""
    adapters = hf.find_adapters(list(shapes))
    total = 0
    for name, shape in shapes.items():
        elements = math.prod(shape)
        anchored = adapters.role(name) not in hf.ADAPTER_ROLES
        working_set = elements * (4 * FLOAT + ANCHOR * anchored)
        if working_set <= cache:
            total += elements * (ADAMW + ANCHOR * anchored)
        else:
            total += elements * (LARGE + LARGE_ANCHOR * anchored)
    return total


def floors(shapes: Shapes, session: dict[str, Any]) -> dict[str, float]:
    """Milliseconds below which no step can go at the measured bytes per second.

    An unknown cache counts as endless, so that a floor stays a floor.
    """
    cache = max(session["caches"].values(), default=math.inf)
    speed = session["bytes_per_second"]
    return {
        "AdamW": 1e3 * adamw_bytes(shapes) / speed,
        "full chain": 1e3 * full_chain_bytes(shapes, cache) / speed,
    }
