"""What the processes of a `world` do: each function runs in all of them at once, beside a run in one process."""

from __future__ import annotations

import copy
import runpy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from catalog import draw
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as portable
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.experimental import implicit_replication
from torch.nn.parallel import DistributedDataParallel

import hina_func as hf
from distributed.cases import CHAINS, Difference

ALL_ON = {"use_orthogonal_grad": True, "wd_transition_steps": 2}
"""What `HinaAdamW` leaves off, and a decay that fades within a few steps."""


def difference(here: dict[str, Tensor], there: dict[str, Tensor]) -> Difference:
    """``there`` is what one process computed."""
    assert here.keys() == there.keys(), here.keys() ^ there.keys()
    worst = Difference()
    for name, expected in there.items():
        found = whole(here[name])
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
        if torch.equal(found, expected):
            continue
        is_number = ":" in name and not expected.ndim
        size = 1.0 if is_number else expected.double().abs().max().clamp_min(1e-30)
        off = float((found.double() - expected.double()).abs().max() / size)
        worst = max(worst, Difference(off if off < float("inf") else float("inf"), name))
    return worst


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def results(optimizer: hf.Optimizer) -> dict[str, Tensor]:
    """Every parameter and every tensor of its state, by name."""
    found: dict[str, Tensor] = {}
    for name, param in optimizer.named_parameters().items():
        found[name] = param.detach()
        found |= {f"{name}: {key}": x for key, x in optimizer.state.get(param, {}).items()}
    return found


def assert_kept_in_shards(optimizer: hf.Optimizer) -> None:
    """State of a parameter's shape lies where the parameter lies; numbers are plain."""
    for name, param in optimizer.named_parameters().items():
        for key, x in optimizer.state.get(param, {}).items():
            if isinstance(param, DTensor) and param.ndim and x.shape == param.shape:
                assert isinstance(x, DTensor), f"{name}: {key} is a plain tensor"
                assert x.placements == param.placements, f"{name}: {key}"
                assert x.to_local().shape == param.to_local().shape
            else:
                assert not isinstance(x, DTensor), f"{name}: {key} is sharded"


# given gradients, any chain

Sharding = Callable[[str, Tensor], tuple[DeviceMesh, list[Placement]] | None]


def by_dim(dim: int) -> Sharding:
    """Every parameter over all processes, along one dimension or its last, in parts as even as they get."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return lambda name, x: (mesh, [Shard(min(dim, x.ndim - 1)) if x.ndim else Replicate()])


def in_part() -> Sharding:
    """Some parameters sharded, some replicated on the mesh, some plain."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))

    def choose(name: str, x: Tensor) -> tuple[DeviceMesh, list[Placement]] | None:
        kind = len(name) % 3
        return None if kind == 0 else (mesh, [Replicate() if kind == 1 or not x.ndim else Shard(0)])

    return choose


def on_grid() -> Sharding:
    """Four processes as 2 x 2: replicated and sharded, or sharded along two dimensions."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("outer", "inner"))

    def choose(name: str, x: Tensor) -> tuple[DeviceMesh, list[Placement]]:
        inner: Placement = Shard(0) if x.ndim else Replicate()
        return mesh, [Shard(1) if x.ndim > 1 and len(name) % 2 else Replicate(), inner]

    return choose


MADE: dict[str, Callable[[], Sharding]] = {
    "first dimension": lambda: by_dim(0),
    "last dimension": lambda: by_dim(9),
    "in part": in_part,
    "grid": on_grid,
}


def put(tensors: dict[str, Tensor], sharding: Sharding) -> dict[str, Tensor]:
    """The tensors, on the processes."""
    placed = {name: sharding(name, x) for name, x in tensors.items()}
    return {name: distribute_tensor(x, *at) if (at := placed[name]) else x.clone() for name, x in tensors.items()}


def given_gradients(
    build: Callable[[dict[str, Tensor]], hf.Optimizer], dtype: torch.dtype, sharding: Sharding, steps: int
) -> Difference:
    """The same gradients, some of them missing, for one process and for shards."""
    start = draw(0, dtype)
    plain = {name: nn.Parameter(x) for name, x in copy.deepcopy(start).items()}
    shards = {name: nn.Parameter(x) for name, x in put(start, sharding).items()}
    optimizers = build(plain), build(shards)
    for step in range(steps):
        grads = draw(10 + step, dtype)
        missing = {"weight", "a.lokr_w2", "q.lora_A.weight"} if step == 1 else set()
        for params, given in ((plain, grads), (shards, put(grads, sharding))):
            for name, param in params.items():
                param.grad = None if name in missing else given[name]
        for optimizer in optimizers:
            optimizer.step()
    one, many = optimizers
    assert_kept_in_shards(many)
    return difference(results(many), results(one))


def transform(name: str, dtype: torch.dtype, sharding: str) -> Difference:
    """One transform alone."""
    return given_gradients(lambda ps: hf.Optimizer(ps, CHAINS[name](), compile=False), dtype, MADE[sharding](), 3)


def recipe(formulas: str, dtype: torch.dtype, sharding: str) -> Difference:
    """All tricks on, two groups."""

    def build(params: dict[str, Tensor]) -> hf.Optimizer:
        pairs = list(params.items())
        groups = [{"params": pairs[::2]}, {"params": pairs[1::2], "lr": 3e-3}]
        return hf.HinaAdamW(groups, lr=1e-2, formulas=formulas, compile=False, **ALL_ON)

    return given_gradients(build, dtype, MADE[sharding](), 5)


def functions() -> Difference:
    """The functions of a transform, without an optimizer, where plain tensors count as the same on every process."""
    tx, sharding = hf.hina_adamw(1e-2, use_orthogonal_grad=True), by_dim(0)
    plain = draw(0)
    shards = put(plain, sharding)
    with torch.no_grad(), implicit_replication():
        one, many = tx.init(plain), tx.init(shards)
        for step in range(3):
            grads = draw(10 + step)
            updates, one = tx.update(grads, one, plain)
            plain = hf.apply_updates(plain, updates)
            updates, many = tx.update(put(grads, sharding), many, shards)
            shards = hf.apply_updates(shards, updates)
    return difference(shards, plain)


# models that learn


class Adapted(nn.Module):
    """A linear layer, a LoRA, a LoKr, a norm and a number; no first dimension divides by four, one is 1."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.base = nn.Linear(6, 9)
        self.lora_A = nn.Linear(6, 3, bias=False)
        self.lora_B = nn.Linear(3, 9, bias=False)
        self.lokr_w1 = nn.Parameter(torch.randn(3, 2))
        self.lokr_w2_a = nn.Parameter(torch.randn(3, 1))
        self.lokr_w2_b = nn.Parameter(torch.zeros(1, 3))
        self.norm = nn.LayerNorm(9)
        self.gain = nn.Parameter(torch.ones(1))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        lokr = torch.kron(self.lokr_w1, self.lokr_w2_a @ self.lokr_w2_b)
        return self.norm(self.base(x) + self.lora_B(self.lora_A(x)) + x @ lokr.T) * self.gain


def without_adapters() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.LayerNorm(9), nn.Linear(9, 9))


def batches(start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(100 + step)
        yield torch.randn(8, 6, generator=generator), torch.randn(8, 9, generator=generator)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, start: int, stop: int) -> None:
    """Each process sees the whole batch, so that the mean of their gradients is bit for bit that of one process."""
    for x, y in batches(start, stop):
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def recipe_for(model: nn.Module, formulas: str) -> hf.HinaAdamW:
    return hf.HinaAdamW(model.named_parameters(), lr=1e-2, formulas=formulas, compile=False, **ALL_ON)


def sharded(model: nn.Module, mesh: DeviceMesh | None = None) -> nn.Module:
    mesh = mesh or init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model.base, mesh=mesh)  # type: ignore[arg-type]
    return fully_shard(model, mesh=mesh)


def alone(formulas: str, steps: int) -> hf.HinaAdamW:
    """What one process computes."""
    model = Adapted()
    optimizer = recipe_for(model, formulas)
    train(model, optimizer, 0, steps)
    return optimizer


def fsdp(formulas: str, grid: bool = False) -> Difference:
    """``fully_shard``; on a grid replicated and sharded (HSDP)."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")) if grid else None
    model = sharded(Adapted(), mesh)
    optimizer = recipe_for(model, formulas)
    train(model, optimizer, 0, 6)
    assert_kept_in_shards(optimizer)
    return difference(results(optimizer), results(alone(formulas, 6)))


def ddp(formulas: str) -> Difference:
    model = Adapted()
    optimizer = recipe_for(model, formulas)
    train(DistributedDataParallel(model), optimizer, 0, 6)
    return difference(results(optimizer), results(alone(formulas, 6)))


def from_whole_state(formulas: str) -> Difference:
    """A state of one process, loaded by `load_state_dict` into shards, and back."""
    model, one = Adapted(), alone(formulas, 3)
    with torch.no_grad():
        for param, trained in zip(model.parameters(), one.named_parameters().values(), strict=True):
            param.copy_(trained)
    shards = sharded(model)
    many = recipe_for(shards, formulas)
    many.load_state_dict(one.state_dict())
    train(shards, many, 3, 6)
    assert_kept_in_shards(many)
    again = Adapted()
    with torch.no_grad():
        for param, trained in zip(again.parameters(), shards.parameters(), strict=True):
            param.copy_(whole(trained))
    back = recipe_for(again, formulas)
    back.load_state_dict(many.state_dict())
    train(again, back, 6, 9)
    return difference(results(back), results(alone(formulas, 9)))


# torch's checkpoints


def saved(formulas: str, folder: str, flat: bool) -> Difference:
    """Three steps, saved by ``torch.distributed.checkpoint``; the difference is that of six."""
    options = portable.StateDictOptions(flatten_optimizer_state_dict=flat)
    model = sharded(Adapted())
    optimizer = recipe_for(model, formulas)
    train(model, optimizer, 0, 3)
    state = portable.get_optimizer_state_dict(model, optimizer, options=options)
    dcp.save({"model": portable.get_model_state_dict(model), "optimizer": state}, checkpoint_id=Path(folder))
    train(model, optimizer, 3, 6)
    after = {name: whole(x).clone() for name, x in results(optimizer).items()}
    torch.save(after, Path(folder) / f"uninterrupted.{dist.get_rank()}")
    return difference(after, results(alone(formulas, 6)))


def loaded(formulas: str, folder: str, flat: bool, how: str) -> Difference:
    """Another model, of as many processes as there are here or "in one process", continues where the saved one was.

    The difference is that of six steps in one go, in one process or, "exactly", in those that saved.
    """
    options = portable.StateDictOptions(flatten_optimizer_state_dict=flat)
    model = Adapted(seed=8)
    if how != "in one process":
        model = sharded(model)
    optimizer = recipe_for(model, formulas)
    target = {
        "model": portable.get_model_state_dict(model),
        "optimizer": portable.get_optimizer_state_dict(model, optimizer, options=options),
    }
    dcp.load(target, checkpoint_id=Path(folder), no_dist=how == "in one process")
    portable.set_model_state_dict(model, target["model"])
    portable.set_optimizer_state_dict(model, optimizer, target["optimizer"], options=options)
    train(model, optimizer, 3, 6)
    if how == "exactly":
        return difference(results(optimizer), torch.load(Path(folder) / f"uninterrupted.{dist.get_rank()}"))
    return difference(results(optimizer), results(alone(formulas, 6)))


def initialised(formulas: str) -> Difference:
    """Torch fills a fresh optimizer by a step with zero gradients and no learning rate: nothing moves."""
    model = sharded(Adapted())
    optimizer = recipe_for(model, formulas)
    before = {name: whole(param.detach()).clone() for name, param in model.named_parameters()}
    state = portable.get_optimizer_state_dict(model, optimizer)["state"]
    assert state.keys() == before.keys()
    assert all(whole(x).isfinite().all() for rows in state.values() for x in rows.values())
    assert all(isinstance(key, str) and "." not in key for rows in state.values() for key in rows)
    return difference({name: param.detach() for name, param in model.named_parameters()}, before)


def example(folder: str) -> None:
    """What the page on several processes shows."""
    path = Path(__file__).parents[2] / "docs" / "examples" / "fully_sharded.py"
    runpy.run_path(str(path))["main"](folder)


# ZeroRedundancyOptimizer


def zero(formulas: str) -> tuple[Difference, list[str]]:
    """Each process updates parameters of its own, whole; also the warnings of construction."""
    replica, single = without_adapters(), without_adapters()
    optimizer, said = built_under_zero(replica, hf.HinaAdamW, formulas=formulas, compile=False, **ALL_ON)
    train(DistributedDataParallel(replica), optimizer, 0, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(single, recipe_for(single, formulas), 0, 4)
    optimizer.consolidate_state_dict(to=0)
    if dist.get_rank() == 0:
        assert len(optimizer.state_dict()["state"]) == len(list(replica.parameters()))
    here, there = ({name: p.detach() for name, p in m.named_parameters()} for m in (replica, single))
    return difference(here, there), said


def zero_of_adapters() -> list[str]:
    """The warnings of construction."""
    return built_under_zero(Adapted(), hf.HinaAdamW)[1]


class Clipped(hf.Optimizer):
    """A chain that looks across parameters."""

    def __init__(self, params: Any, lr: float = 1e-2) -> None:
        tx = hf.chain(hf.clip_by_global_norm(1e-3), hf.scale_by_learning_rate(hf.Hyperparam("lr", lr)))
        super().__init__(params, tx)


def zero_clipped() -> list[str]:
    """The warnings of construction."""
    return built_under_zero(without_adapters(), Clipped)[1]


def built_under_zero(model: nn.Module, kind: type, **options: Any) -> tuple[ZeroRedundancyOptimizer, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = ZeroRedundancyOptimizer(model.parameters(), kind, lr=1e-2, **options)
    said = [str(warning.message) for warning in caught if "ZeroRedundancyOptimizer" in str(warning.message)]
    return optimizer, said


# what is refused, and one file for all


def from_one_file(path: str) -> Difference:
    """A file that one process saved, loaded into shards."""
    one = alone("published", 3)
    if dist.get_rank() == 0:
        hf.save_checkpoint(path, one)
    dist.barrier()
    model = sharded(Adapted(seed=8))
    many = recipe_for(model, "published")
    hf.load_checkpoint(path, many)
    return difference(results(many), results(one))


def refused(what: str) -> str:
    """The message."""
    try:
        if what == "two meshes":
            mesh = init_device_mesh("cpu", (dist.get_world_size(),))
            grid = init_device_mesh("cpu", (1, dist.get_world_size()))
            params = {
                "a": nn.Parameter(distribute_tensor(torch.ones(4), mesh, [Shard(0)])),
                "b": nn.Parameter(distribute_tensor(torch.ones(4), grid, [Replicate(), Shard(0)])),
            }
            optimizer = hf.Optimizer(params, hf.clip_by_global_norm(1.0))
            for param in params.values():
                param.grad = torch.ones_like(param)
            optimizer.step()
        elif what == "one file":
            hf.save_checkpoint("unwritten.safetensors", recipe_for(sharded(Adapted()), "published"))
        elif what == "wrapped later":
            model = nn.Linear(4, 4)
            optimizer = hf.Optimizer(model.named_parameters(), hf.scale_by_adam())
            flat = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
            flat(torch.ones(2, 4)).sum().backward()
            optimizer.step()
        else:
            flat = FullyShardedDataParallel(
                nn.Linear(4, 4), use_orig_params=what == "original parameters", device_id=torch.device("cpu")
            )
            hf.HinaAdamW(flat.parameters())
    except ValueError as error:
        return str(error)
    return ""
