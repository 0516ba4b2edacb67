"""Files that were damaged or forged: one clear error and nothing changed, never a crash, a hang or a flood of memory.

``pytest tests/test_fuzz.py --fuzz 1000000`` is the full form.
"""

from __future__ import annotations

import copy
import gc
import re
import resource
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import fuzz
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import hina_func as hf
from hina_func import __main__ as command_line
from hina_func.optim import sealed

SHAPES = {"q.lokr_w1": (2, 2), "q.lokr_w2": (3, 4), "bias": (3,)}


def stepped(dtype: torch.dtype, seed: int = 0) -> hf.Optimizer:
    draw = torch.Generator().manual_seed(seed)
    params = {name: nn.Parameter(torch.randn(shape, generator=draw).to(dtype)) for name, shape in SHAPES.items()}
    optimizer = hf.HinaAdamW(params)
    for _ in range(2):
        for p in params.values():
            p.grad = torch.randn(p.shape, generator=draw).to(dtype)
        optimizer.step()
    return optimizer


def saved(optimizer: hf.Optimizer, folder: Path) -> bytes:
    path = folder / "run.safetensors"
    hf.save_checkpoint(path, optimizer, extra={"step": 3, "rng": torch.arange(5), 1: (1.5, None)})
    return path.read_bytes()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b) if not isinstance(a, (list, tuple)) else all(map(same, a, b))


def held(optimizer: hf.Optimizer) -> Any:
    return copy.deepcopy((optimizer.state_dict(), optimizer.named_parameters()))


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz"))


def peak() -> float:
    """The most memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_no_damage_is_accepted(cases, tmp_path):
    """Not in a byte, wherever it is: what is opened is what was saved."""
    rng = Random(cases)
    for dtype in (torch.bfloat16, torch.float64):
        data = saved(stepped(dtype), tmp_path)
        assert sealed.opened(data)["extra"]["step"] == 3
        before, messages = peak(), Counter()
        for _ in range(cases // 2):
            with pytest.raises(ValueError, match=r"\w") as error:
                sealed.opened(fuzz.damaged(rng, data))
            messages[re.sub(r"\d+", "N", str(error.value))[:20]] += 1
        assert len(messages) > 3, messages
        assert peak() - before < 64
    print(f"\n{cases} damaged files: 0 accepted, 0 crashes; kinds of refusal: {dict(messages)}")


def test_every_byte_counts(tmp_path):
    data = saved(stepped(torch.float32), tmp_path)
    for place in range(len(data)):
        with pytest.raises(ValueError, match=r"\w"):
            sealed.opened(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_a_forged_file_is_refused_or_means_what_it_says(cases, tmp_path):
    """Its checksums hold, so it may be loaded; it must not do anything else, and what is refused changes nothing."""
    rng = Random(cases)
    optimizer, path = stepped(torch.bfloat16), tmp_path / "forged.safetensors"
    data, outcomes = saved(optimizer, tmp_path), Counter()
    before = held(optimizer)
    for case in range(max(200, cases // 20)):
        path.write_bytes(fuzz.forged(rng, data))
        try:
            hf.load_checkpoint(path, optimizer, strict=case % 2 == 0)
        except ValueError:
            outcomes["refused"] += 1
            if case % 10 == 0:
                assert same(held(optimizer), before)
        else:
            outcomes["loaded"] += 1
            optimizer.step()
            optimizer = stepped(torch.bfloat16)
    assert min(outcomes.values()) > 10, outcomes
    print(f"\n{dict(outcomes)}, 0 crashes; peak {peak():.0f} MiB")


BOMBS = {
    "a header of 2^63 bytes": lambda data: (2**63).to_bytes(8, "little") + data[8:],
    "a header of 100 MB": lambda data: (10**8).to_bytes(8, "little") + data[8:],
    "depth": lambda data: with_manifest(data, "[" * 10**6),
    "depth that ends": lambda data: with_manifest(data, "[" * 10**5 + "]" * 10**5),
    "many small things": lambda data: with_manifest(data, "[" + "{}," * 10**6 + "0]"),
    "a long number": lambda data: with_manifest(data, "9" * 10**6),
    "a long string": lambda data: with_manifest(data, '"' + "x" * 10**6 + '"'),
    "depth beside the manifest": lambda data: with_header(data, "[" * 10**6),
    "a tensor of 2^60 elements": lambda data: with_header(
        data, '{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}'
    ),
    "a tensor of nothing, very wide": lambda data: with_header(
        data, '{"dtype":"F32","shape":[0,9223372036854775807,9223372036854775807],"data_offsets":[0,0]}'
    ),
    "a dtype that torch has not": lambda data: with_header(
        data, '{"dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4]}'
    ),
    "tensors that overlap": lambda data: with_header(data, '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'),
    "a key twice": lambda data: with_header(data, '1,"x":2'),
    "no text": lambda data: with_header(data, '"\udcff"'),
}


def with_manifest(data: bytes, manifest: str) -> bytes:
    return fuzz.sealed(
        f'{{"__metadata__":{{"hina_func":"{"0" * 64}{manifest.replace(chr(34), chr(92) + chr(34))}"}}}}'.encode(), b""
    )


def with_header(data: bytes, entry: str) -> bytes:
    header = data[8 : fuzz.header_end(data)].rstrip(b" ")
    return fuzz.sealed(
        header[:-1] + b',"x":' + entry.encode(errors="surrogateescape") + b"}", data[fuzz.header_end(data) :]
    )


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_within_a_small_multiple_of_its_size(kind, tmp_path):
    optimizer = stepped(torch.float32)
    before = held(optimizer)
    data = BOMBS[kind](saved(optimizer, tmp_path))
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(data)
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"bomb\.safetensors.*Nothing was changed"):
            hf.load_checkpoint(path, optimizer)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 32 * len(data) + 2**20, used / len(data)
    assert same(held(optimizer), before)


words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["demo", "--seeds", "--quick", "--out", "-h", "--help", "--", "0", "-1", "2", "1e9", "x" * 10_000]),
)


@given(st.lists(words, max_size=6))
def test_the_command_line_takes_anything(arguments):
    """It runs a command, or says what is wrong and exits with 2; nothing else comes out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line.demo, "run", lambda chosen: 0)
        assert code_of(arguments) in (0, 2)


def code_of(arguments: list[str]) -> Any:
    try:
        return command_line.main(arguments)
    except SystemExit as stop:
        return stop.code
