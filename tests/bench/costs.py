"""What an optimizer holds, what a step borrows, and how often it waits for the device."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler import profile
from torch.nn import Parameter


def tensors_in(state: Any) -> Iterator[Tensor]:
    """The plain tensors of nested containers; one of a subclass that wraps others is those others."""
    if isinstance(state, Tensor):
        if hasattr(state, "__tensor_flatten__"):
            names, _ = state.__tensor_flatten__()
            yield from tensors_in([getattr(state, name) for name in names])
        else:
            yield state
    elif isinstance(state, Mapping):
        yield from tensors_in(list(state.values()))
    elif isinstance(state, (list, tuple, set)):
        for part in state:
            yield from tensors_in(part)


def distinct_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of memory that tensors cover; what two of them share counts once."""
    spans: list[tuple[int, int]] = []
    for x in tensors:
        if x.numel():
            extent = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
            spans.append((x.data_ptr(), x.data_ptr() + extent * x.element_size()))
    return _covered(spans)


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    """Bytes between first and last addresses; storages may overlap, as a column and its rows do."""
    total = end = 0
    for first, last in sorted(spans):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total


def live_bytes(device: str) -> int:
    """Bytes of all tensors of this process: on CUDA from the allocator, on a CPU of all that Python can reach."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    tensors = (x for x in gc.get_objects() if type(x) in (Tensor, Parameter))
    found = (x for x in tensors if x.device.type == device and x.layout == torch.strided)
    storages = (x.untyped_storage() for x in found)
    return _covered((storage.data_ptr(), storage.data_ptr() + storage.nbytes()) for storage in storages)


def borrowed(step: Callable[[], Any], device: str) -> tuple[int, int]:
    """Peak bytes that one step allocates beyond what is held before it, and its host synchronisations."""
    return _borrowed_on_cuda(step) if device == "cuda" else _borrowed_on_cpu(step)


def _borrowed_on_cpu(step: Callable[[], Any]) -> tuple[int, int]:
    """From the profiler; on a CPU a synchronisation is a value that Python reads from a tensor."""
    with profile(profile_memory=True) as profiler:
        step()
    events = profiler.kineto_results.events()
    now = peak = 0
    for _, size in sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"):
        now += size
        peak = max(peak, now)
    return peak, sum(event.name() == "aten::_local_scalar_dense" for event in events)


def _borrowed_on_cuda(step: Callable[[], Any]) -> tuple[int, int]:
    """From the allocator, and from the warnings of torch's debug mode for synchronisations."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step()
    torch.cuda.set_sync_debug_mode("default")
    synchronisations = sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)
    return torch.cuda.max_memory_allocated() - held, synchronisations
