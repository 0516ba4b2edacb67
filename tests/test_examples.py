"""The files of ``docs/examples`` run as they stand, and what the page about clients says of them is true."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import hina_func as hf

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
ELSEWHERE = {"fully_sharded"}
"""Run by ``test_distributed.py``."""

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error:.*modules matched:UserWarning"),
    pytest.mark.filterwarnings("error:the parameters have no names:UserWarning"),
]


@pytest.fixture(autouse=True)
def _own_process() -> Iterator[None]:
    """What these libraries keep for a whole process begins anew, and ends here."""
    from accelerate.state import AcceleratorState

    environment = dict(os.environ)
    AcceleratorState._reset_state(True)
    with torch.random.fork_rng(devices=[]):
        yield
    AcceleratorState._reset_state(True)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> None:
    """Needs what ``nox -s clients`` installs."""
    if not request.config.getoption("--all-clients"):
        pytest.skip("driven with --all-clients only")


def example(name: str) -> ModuleType:
    """The file, imported."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def assert_same(a: torch.optim.Optimizer, b: torch.optim.Optimizer) -> None:
    """Parameters and state are equal to the bit, by name, and there is state."""
    ours, theirs = a.named_parameters(), b.named_parameters()
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        y = theirs[name]
        assert x is not y
        assert torch.equal(x, y), name
        assert a.state[x].keys() == b.state[y].keys() != set()
        assert all(torch.equal(value, b.state[y][key]) for key, value in a.state[x].items()), name


def counted(monkeypatch: pytest.MonkeyPatch, owner: type) -> list[object]:
    """Who called ``training_step``, call by call."""
    calls: list[object] = []
    original = owner.training_step

    @functools.wraps(original)
    def step(self: object, *args: object) -> object:
        calls.append(self)
        return original(self, *args)

    monkeypatch.setattr(owner, "training_step", step)
    return calls


def test_every_example_is_on_the_page_and_run_here() -> None:
    files = {path.stem for path in EXAMPLES.glob("*.py")} - ELSEWHERE
    assert {name for name in files if f"```{{literalinclude}} examples/{name}.py" in PAGE} == files
    assert set(re.findall(r"\bexample\(\"(\w+)\"\)", Path(__file__).read_text("utf-8"))) == files


def test_sd_scripts_trains_lokr_modules_whose_names_nobody_passed() -> None:
    module = example("sd_scripts")
    [command] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert shlex.split(command.replace("\\\n", " ")) == shlex.split(module.COMMAND)
    network, optimizer = module.main(shlex.split(module.COMMAND))
    stats = optimizer.get_optimization_info()["lokr_stats"]
    assert stats["lokr_pairs"] == stats["lokr_groups"] == len(network.loras) == 4
    assert {key for group in network.prepare_optimizer_params(1, 1)[0] for key in group} == {"params", "lr"}
    assert optimizer.named_parameters().keys() == dict(network.named_parameters()).keys()
    assert [group["initial_lr"] for group in optimizer.param_groups] == [4e-4, 8e-4]
    assert optimizer.param_groups[0]["wd_transition_steps"] == 500


def test_lycoris_alone_continues_to_the_bit(tmp_path: Path) -> None:
    module = example("lycoris_lokr")
    straight, resumed = module.main(str(tmp_path))
    _, network, optimizer = module.build()
    assert_same(straight, resumed)
    assert straight.get_optimization_info()["lokr_stats"]["lokr_pairs"] == len(network.loras) == 2
    trained = dict(network.named_parameters())
    assert optimizer.named_parameters().keys() == trained.keys()
    assert trained.keys() - network.state_dict().keys() == {"lycoris_0.scalar", "lycoris_2.scalar"}
    assert trained["lycoris_0.lokr_w1"].any()
    assert not network.state_dict()["lycoris_0.lokr_w1"].any()


def test_peft_adapters_are_counted_one_by_one_and_rest_when_inactive() -> None:
    module = example("peft_adapters")
    _, optimizer = module.main()
    assert optimizer.coverage() == "lora_lr_scale, lora_plus_lr_scale: 4 LoRA modules matched; " + (
        "lokr_lr_scale: 1 LoKr modules matched among 10 parameters"
    )
    model, halfway = module.build()
    module.train(model, halfway, 5)
    before, after = halfway.named_parameters(), optimizer.named_parameters()
    moved = {name for name, param in after.items() if not torch.equal(param, before[name])}
    resting = after.keys() - moved
    for name in resting:
        ours, theirs = optimizer.state[after[name]], halfway.state[before[name]]
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert moved == {name for name in optimizer.named_parameters() if ".lora_A.weight" in name}
    assert {hf.find_adapters(list(moved)).role(name) for name in moved} == {"lora_a", "lora_b"}


@pytest.mark.parametrize("way", ["by_class", "built_before"])
def test_a_trainer_continues_to_the_bit(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("hf_trainer")
    calls = counted(monkeypatch, module.Trainer)
    straight, resumed = module.main(str(tmp_path), getattr(module, way))
    assert straight.state.global_step == resumed.state.global_step == 8
    assert (calls.count(straight), calls.count(resumed)) == (16, 8)
    optimizer = resumed.optimizer.optimizer
    assert_same(straight.optimizer.optimizer, optimizer)
    assert (optimizer.param_groups[0]["initial_lr"], resumed.args.learning_rate) == (5e-4, 5e-5)
    assert [len(group["params"]) for group in optimizer.param_groups] == ([8, 0] if way == "by_class" else [8])
    assert optimizer.coverage() == "lora_lr_scale, lora_plus_lr_scale: 4 LoRA modules matched; " + (
        "lokr_lr_scale: 0 LoKr modules matched among 8 parameters"
    )


def test_a_loop_with_accelerate_continues_to_the_bit(tmp_path: Path) -> None:
    module = example("accelerate_loop")
    straight, resumed = module.main(str(tmp_path))
    assert_same(straight[1].optimizer, resumed[1].optimizer)
    assert resumed[3].scheduler.last_epoch == 12
    assert {param.dtype for param in resumed[0].parameters()} == {torch.float32}
    for name in ("coverage", "adapters", "get_optimization_info"):
        assert hasattr(resumed[1].optimizer, name)
        assert not hasattr(resumed[1], name)


@pytest.mark.usefixtures("asked")
def test_a_module_of_lightning_continues_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("lightning_module")
    calls = counted(monkeypatch, module.Regression)
    straight, resumed = module.main(str(tmp_path))
    assert straight.trainer.global_step == resumed.trainer.global_step == 24
    assert (calls.count(straight), calls.count(resumed)) == (24, 12)
    assert_same(straight.optimizers().optimizer, resumed.optimizers().optimizer)
    assert resumed.optimizers().coverage() == "no adapter rules among 4 parameters"
    assert resumed.optimizers().adapters().counts()["regular"] == 4


def test_every_lora_module_of_a_diffusers_unet_is_covered() -> None:
    unet, optimizer = example("diffusers_lora").main()
    layers = sum(hasattr(module, "lora_A") for module in unet.modules())
    stats = optimizer.get_optimization_info()["lora_stats"]
    assert stats["lora_pairs"] == layers == 32
    assert {id(param) for param in optimizer.state} == {id(p) for p in unet.parameters() if p.requires_grad}


def restated() -> dict[str, list[str]]:
    """Row by row, the tests of torch in the page's table -> its other cells."""
    section = PAGE[PAGE.index("## torch's own tests") :]
    rows = re.findall(r"^\| (`test_.*?) \| (.*?) \| ?(.*?) ?\|$", section, re.MULTILINE)
    assert rows
    return {tests: [cell.strip("`") for cell in cells] for tests, *cells in rows}


SUITE = ROOT / "tests" / "clients" / "optim_info_suite.py"
CONDITIONAL = {
    "test_foreach_matches_forloop": "foreach",
    "test_differentiable_step": "differentiable",
}
"""Tests of the script that ask for a flag of the class."""


def test_the_table_of_torchs_tests_names_those_of_the_script() -> None:
    [build] = [node for node in ast.parse(SUITE.read_text("utf-8")).body if getattr(node, "name", "") == "build_tests"]
    written = {node.name for node in ast.walk(build) if getattr(node, "name", "").startswith("test_")}
    assert {script for script, _ in restated().values()} - {"no"} == written - CONDITIONAL.keys()


def test_what_the_table_says_is_not_there_is_not_there() -> None:
    flags = set(inspect.signature(hf.HinaAdamW.__init__).parameters)
    assert not flags & {"foreach", "fused", "capturable", "differentiable", "maximize", *CONDITIONAL.values()}
    torchs = [name for tests in restated() for name in re.findall(r"`(\w+)`", tests)]
    assert len(torchs) == len(set(torchs))
    assert all(why for script, why in restated().values() if script == "no")


@pytest.mark.usefixtures("asked")
def test_the_script_runs_exactly_what_the_table_says() -> None:
    command = [sys.executable, str(SUITE), "factories:Published", "--cls", "factories:Published"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(SUITE.parent)))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=SUITE.parent, check=True)
    summary = json.loads(done.stdout.split("SUMMARY ")[1])
    assert summary["fail"] == summary["skip"] == []
    stated = {script for script, _ in restated().values()} - {"no"}
    of = {
        name: max((test for test in stated if name.startswith(test)), key=len, default=None) for name in summary["ran"]
    }
    assert set(of.values()) == stated
