"""Past one process: what shards compute is what one process computes.

By default two processes and the most telling cases; ``--distributed`` takes every transform, two and four processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from distributed.cases import CHAINS, SHARDINGS, Difference
from distributed.world import World

FORMULAS = ("published", "original")
ALL = [(torch.float32, "first dimension"), *((torch.float64, sharding) for sharding in SHARDINGS[1:])]

TELLING = ("scale_by_adam", "lora_lr_scale", "lokr_lr_scale", "clip_by_global_norm", "apply_if_finite")

SUMS = {
    "scale_by_adopt_tam",
    "scale_by_adatam",
    "scale_by_agr",
    "scale_by_trust_ratio",
    "trace_tam",
    "centralize",
    "orthogonal_project",
    "spd_penalty",
    "spd_penalty (init)",
    "spd_penalty (tree)",
    "spd_penalty (ratio)",
    "clip_by_norm",
    "clip_by_global_norm",
    "with_gradient",
    "hina_adamw",
    "hina_adamw (original)",
}
"""Chains that add up real numbers, in another order on shards. All others are bitwise."""

CANCELS = {"orthogonal_project", "with_gradient", "hina_adamw", "hina_adamw (original)"}
"""Here small differences of large sums are scaled up, by how much depends on the numbers."""


def allowed(name: str, dtype: torch.dtype) -> float:
    """Relative to the largest element of a tensor: nothing, eight rounding errors (1e-6 in float32), or a hundred."""
    if name not in SUMS:
        return 0.0
    return (100 if name in CANCELS else 8) * torch.finfo(dtype).eps


class Worlds:
    """Processes that stay for all tests, and the worst differences they have found."""

    def __init__(self) -> None:
        self._worlds: dict[int, World] = {}
        self.worst: dict[str, tuple[Difference, str]] = {}

    def run(self, size: int, job: str, *args: Any) -> list[Any]:
        if size not in self._worlds:
            self._worlds[size] = World(size)
        return self._worlds[size].run(job, *args)

    def difference(self, size: int, job: str, *args: Any) -> float:
        """The largest that any process found."""
        found: Difference = max(self.run(size, job, *args))
        dtype = next((arg for arg in args if isinstance(arg, torch.dtype)), torch.float32)
        kind = f"{job}, {dtype}, {size} processes".replace("torch.", "")
        case = ", ".join(arg for arg in args if isinstance(arg, str) and "/" not in arg)
        self.worst[kind] = max(self.worst.get(kind, (Difference(), case)), (found, case))
        return found.size

    def close(self) -> None:
        for world in self._worlds.values():
            world.close()


@pytest.fixture(scope="module")
def worlds(request: pytest.FixtureRequest) -> Iterator[Worlds]:
    found = Worlds()
    yield found
    found.close()
    if request.config.getoption("--distributed"):
        plugins = request.config.pluginmanager
        with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
            print("\nworst differences from one process, relative to the largest element of the tensor")
            for kind, (difference, case) in sorted(found.worst.items()):
                print(f"{kind:40} {difference.size:8.1e}  {case}: {difference.where}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--distributed")
    choices = {
        "size": (2, 4) if full else (2,),
        "name": tuple(CHAINS) if full else TELLING,
        "dtype, sharding": ALL if full else ALL[:1],
        "formulas": FORMULAS,
    }
    for arguments, values in choices.items():
        if set(arguments.split(", ")) <= set(metafunc.fixturenames):
            metafunc.parametrize(arguments, values, ids=str)


@pytest.fixture
def in_full(request: pytest.FixtureRequest) -> bool:
    """Whether everything is asked for."""
    return bool(request.config.getoption("--distributed"))


def skip_grid(sharding: str, size: int) -> None:
    if sharding == "grid" and size != 4:
        pytest.skip("a grid takes four processes")


def test_a_transform_of_shards_is_that_of_whole_tensors(worlds, size, name, dtype, sharding):
    skip_grid(sharding, size)
    assert worlds.difference(size, "transform", name, dtype, sharding) <= allowed(name, dtype)


def test_the_whole_recipe_on_shards_is_that_of_one_process(worlds, size, formulas, dtype, sharding):
    skip_grid(sharding, size)
    assert worlds.difference(size, "recipe", formulas, dtype, sharding) <= allowed("hina_adamw", dtype)


def test_the_functions_of_a_transform_work_on_shards(worlds, size):
    assert worlds.difference(size, "functions") <= allowed("hina_adamw", torch.float64)


def test_sixteen_bit_parameters_round_alike_on_shards(worlds, size, formulas):
    assert worlds.difference(size, "recipe", formulas, torch.bfloat16, "first dimension") <= 2.0**-7


def test_fully_sharded_training_is_that_of_one_process(worlds, size, formulas):
    assert worlds.difference(size, "fsdp", formulas) <= 1e-5
    if size == 4:
        assert worlds.difference(size, "fsdp", formulas, True) <= 1e-5


def test_replicas_train_bitwise_like_one_process(worlds, size, formulas):
    assert worlds.difference(size, "ddp", formulas) == 0


def test_filling_a_fresh_optimizer_moves_nothing(worlds, size, formulas):
    assert worlds.difference(size, "initialised", formulas) == 0


@pytest.mark.parametrize("flat", [False, True])
def test_a_checkpoint_of_two_continues_in_any_number_of_processes(worlds, tmp_path, formulas, flat, in_full):
    if (flat or formulas == "original") and not in_full:
        pytest.skip("with --distributed only")
    folder = str(tmp_path)
    assert worlds.difference(2, "saved", formulas, folder, flat) <= 1e-5
    assert worlds.difference(2, "loaded", formulas, folder, flat, "exactly") == 0
    assert worlds.difference(2, "loaded", formulas, folder, flat, "in one process") <= 1e-5
    if in_full:
        assert worlds.difference(4, "loaded", formulas, folder, flat, "sharded") <= 1e-5


def test_the_example_of_the_page_runs(worlds, tmp_path):
    worlds.run(2, "example", str(tmp_path))


def test_a_state_of_one_process_loads_into_shards_and_back(worlds, size, formulas, in_full):
    if formulas == "original" and not in_full:
        pytest.skip("with --distributed only")
    assert worlds.difference(size, "from_whole_state", formulas) <= 1e-5


def test_a_file_of_one_process_loads_into_shards(worlds, size, tmp_path):
    assert worlds.difference(size, "from_one_file", str(tmp_path / "one.safetensors")) == 0


def test_parameters_shared_out_whole_train_bitwise_like_one_process(worlds, size, formulas):
    for difference, said in worlds.run(size, "zero", formulas):
        assert difference.size == 0
        assert said == []


def test_sharing_out_the_factors_of_a_module_is_said_aloud(worlds, size):
    said = [sentence for sentences in worlds.run(size, "zero_of_adapters") for sentence in sentences]
    assert said
    assert all("adapter modules to different processes, so lora_lr_scale" in sentence for sentence in said)


def test_a_chain_that_sees_only_its_share_says_so(worlds, size):
    for said in worlds.run(size, "zero_clipped"):
        assert len(said) == 1
        assert "the chain looks across parameters, of which it sees" in said[0]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("one file", "one process has shards of 'lokr_w1', 'lokr_w2_a', "),
        ("two meshes", "'a' and 'b' together, so they must lie on one device mesh"),
        ("flat parameters", "got a piece of a flat parameter of FullyShardedDataParallel"),
        ("original parameters", "got a piece of a flat parameter of FullyShardedDataParallel"),
        ("wrapped later", "got a piece of a flat parameter of FullyShardedDataParallel"),
    ],
)
def test_what_cannot_be_brought_together_is_refused(worlds, what, message):
    assert all(message in said for said in worlds.run(2, "refused", what))


def test_the_lists_name_chains_that_exist():
    assert SUMS | CANCELS | set(TELLING) <= CHAINS.keys()
