"""Parameters move side by side where nobody can tell, and stay where they are wherever somebody could."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import hina_func as hf

pytestmark = pytest.mark.compile
SHAPE = (3, 5)
HELD: dict[str, Callable[[nn.Parameter], Any]] = {
    "a tensor": lambda p: p.detach(),
    "data": lambda p: p.data,
    "a view": lambda p: p.detach().t(),
    "an array": lambda p: p.detach().numpy(),
    "a storage": lambda p: p.untyped_storage(),
    "other processes": lambda p: p.share_memory_(),
}


class OfItsOwnKind(nn.Parameter):
    """Whoever writes a class of parameters may keep books on their memory."""


def drawn(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def made(count: int = 4) -> dict[str, nn.Parameter]:
    return {f"w{i}": nn.Parameter(drawn(i)) for i in range(count)}


def optimizer(params: dict[str, nn.Parameter]) -> hf.Optimizer:
    tx = hf.chain(hf.scale_by_adam(), hf.cautious_mask(), hf.spd_penalty(0.1), hf.scale_by_learning_rate(0.1))
    return hf.Optimizer(params, tx, compile=True)


def step(opt: hf.Optimizer, params: dict[str, nn.Parameter], seed: int, missing: str | None = None) -> None:
    for i, (name, p) in enumerate(params.items()):
        p.grad = None if name == missing else drawn(100 * seed + i).to(p.dtype)
    opt.step()


def trained(params: dict[str, nn.Parameter], steps: int = 4) -> dict[str, nn.Parameter]:
    opt = optimizer(params)
    for seed in range(steps):
        step(opt, params, seed)
    return params


def addresses(params: dict[str, nn.Parameter]) -> list[int]:
    return [p.data_ptr() for p in params.values()]


def side_by_side(params: dict[str, nn.Parameter]) -> bool:
    """Whether they lie one after the other in memory."""
    first, size = min(addresses(params)), drawn(0).nbytes
    return sorted(addresses(params)) == [first + i * size for i in range(len(params))]


def equal(left: dict[str, nn.Parameter], right: dict[str, nn.Parameter]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_without_a_compiler_nothing_moves():
    params = made()
    old = addresses(params)
    tx = hf.chain(hf.scale_by_adam(), hf.cautious_mask(), hf.scale_by_learning_rate(0.1))
    step(hf.Optimizer(params, tx, compile=False), params, 0)
    assert addresses(params) == old


def test_parameters_move_once_and_together():
    params = made()
    opt, old = optimizer(params), addresses(params)
    step(opt, params, 0)
    new = addresses(params)
    assert side_by_side(params)
    assert not set(new) & set(old)
    step(opt, params, 1)
    assert addresses(params) == new


@pytest.mark.parametrize("hold", HELD.values(), ids=HELD.keys())
def test_what_somebody_holds_stays(hold):
    params = made()
    held = hold(params["w1"])
    old = addresses(params)
    trained(params)
    assert addresses(params) == old
    assert equal(params, trained(made()))
    if hold in (HELD["other processes"], HELD["an array"]):
        return  # torch marks such memory for good
    del held
    trained(params)
    assert side_by_side(params)


def test_memory_that_torch_did_not_allocate_stays():
    params = made()
    array = params["w1"].detach().clone().numpy()
    params["w1"] = nn.Parameter(torch.from_numpy(array))
    trained(params)
    assert torch.equal(torch.from_numpy(array), params["w1"])
    assert equal(params, trained(made()))


@pytest.mark.parametrize(
    "other",
    [
        lambda p: OfItsOwnKind(p.detach()),
        lambda p: nn.Parameter(p.detach().to(torch.bfloat16)),
        lambda p: nn.Parameter(p.detach().t().contiguous().t()),
        lambda p: nn.Parameter(torch.cat([p.detach().view(-1), torch.zeros(2)])[: p.numel()].view(SHAPE)),
    ],
    ids=["another class", "lower precision", "by columns", "part of a storage"],
)
def test_what_is_no_plain_tensor_stays(other):
    params = {name: other(p) for name, p in made().items()}
    old, strides = addresses(params), [p.stride() for p in params.values()]
    trained(params)
    assert addresses(params) == old
    assert [p.stride() for p in params.values()] == strides


def test_each_still_has_a_storage_of_its_own():
    model = nn.ModuleList(nn.Linear(5, 3, bias=False) for _ in range(4))
    trained(dict(model.named_parameters()))
    assert side_by_side(dict(model.named_parameters()))
    storages = [p.untyped_storage() for p in model.parameters()]
    assert len({s.data_ptr() for s in storages}) == 4
    assert all(
        (p.storage_offset(), s.nbytes()) == (0, p.nbytes) for p, s in zip(model.parameters(), storages, strict=True)
    )
    file, alone = io.BytesIO(), io.BytesIO()
    torch.save(model[1].weight, file)
    torch.save(nn.Parameter(model[1].weight.detach().clone()), alone)
    assert len(file.getvalue()) == len(alone.getvalue())


def test_saved_and_copied_as_ever(tmp_path):
    model = nn.ModuleList(nn.Linear(5, 3, bias=False) for _ in range(4))
    trained(dict(model.named_parameters()))
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    loaded = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for name, p in copy.deepcopy(model).named_parameters():
        assert torch.equal(loaded[name], p)
        assert p.data_ptr() != model.get_parameter(name).data_ptr()


def test_a_gradient_that_is_missing_leaves_its_parameter_alone():
    params, reference = made(), made()
    held = [p.detach() for p in reference.values()]
    opts = optimizer(params), optimizer(reference)
    for seed, missing in enumerate((None, "w2", "w0", None)):
        before = {name: (p.detach().clone(), p._version) for name, p in params.items()}
        for opt, each in zip(opts, (params, reference), strict=True):
            step(opt, each, seed, missing)
        for name, (value, version) in before.items():
            assert torch.equal(params[name], value) == (name == missing)
            assert (params[name]._version == version) == (name == missing)
    assert side_by_side(params)
    assert held[0].data_ptr() == reference["w0"].data_ptr()
    assert equal(params, reference)


def test_a_graph_notices_that_a_parameter_has_changed():
    params = made()
    opt = optimizer(params)
    step(opt, params, 0)
    loss = (params["w0"] ** 2).sum()
    step(opt, params, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_parameter_that_is_moved_away_is_found():
    params, reference = made(), made()
    opt, other = optimizer(params), optimizer(reference)
    for seed in range(4):
        if seed == 2:
            backup = params["w1"].data
            mine = params["w1"].data.clone()
            params["w1"].data = mine
            kept = backup.clone()
        step(opt, params, seed)
        step(other, reference, seed)
    assert torch.equal(mine, params["w1"])
    assert torch.equal(backup, kept)
    assert equal(params, reference)


def test_another_shape_in_its_own_memory_is_refused():
    params = made()
    opt = optimizer(params)
    step(opt, params, 0)
    before = {name: p.clone() for name, p in params.items()}
    params["w1"].data = params["w1"].data.view(SHAPE[::-1])
    for p in params.values():
        p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match=r"'w1' must have the shape \(3, 5\) of its parameter and state, got \(5, 3\)"):
        opt.step()
    params["w1"].data = params["w1"].data.view(SHAPE)
    assert equal(params, before)


def test_numbers_written_by_hand_are_taken_up():
    params, reference = made(), made()
    held = [p.detach() for p in reference.values()]
    for each in (params, reference):
        opt = optimizer(each)
        step(opt, each, 0)
        with torch.no_grad():
            each["w0"].fill_(0.5)
            each["w1"].data.mul_(2)
        step(opt, each, 1)
    assert len(held) == len(params)
    assert equal(params, reference)


def test_they_move_again_for_another_optimizer():
    params = trained(made())
    more = params | {"v": nn.Parameter(drawn(7))}
    trained(more)
    assert side_by_side(more)


def test_two_optimizers_may_take_turns():
    params, reference = made(), made()
    held = [p.detach() for p in reference.values()]
    for each in (params, reference):
        first, second = optimizer(each), optimizer(each)
        for seed in range(4):
            step(second if seed % 2 else first, each, seed)
    assert len(held) == len(params)
    assert equal(params, reference)
