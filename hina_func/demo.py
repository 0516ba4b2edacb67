"""The demo: LyCORIS LoKr adapters on scikit-learn's handwritten digits, with AdamW, HinaAdamW and a chain made by hand.

A small network learns the digits 0 to 4. Then it is frozen, and LoKr factors alone teach it the digits 5 to 9. Every
optimizer chooses from the same learning rates, by the validation loss on seeds kept for that. A seed fixes the split of
the data, the frozen network, the first factors and all batches, so that optimizers are compared seed by seed.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import logging
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import hina_func as hf

NEEDS = {"lycoris": "lycoris-lora", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
BATCH, EVERY, TARGET = 64, 5, 0.9
TUNING = (1000, 1001)
Named = Iterable[tuple[str, nn.Parameter]]


def adamw(named_params: Named, lr: float) -> torch.optim.Optimizer:
    """What most people train adapters with."""
    return torch.optim.AdamW(named_params, lr=lr)


def hina_adamw(named_params: Named, lr: float) -> torch.optim.Optimizer:
    """The whole recipe, with the guide's numbers for LoKr."""
    return hf.HinaAdamW(named_params, **{**hf.presets.lokr, "lr": lr})


def by_hand(named_params: Named, lr: float) -> torch.optim.Optimizer:
    """A chain of one's own: cautious Adam whose factors are scaled by the size of their Kronecker product."""
    tx = hf.chain(
        hf.clip_by_global_norm(1.0),
        hf.scale_by_adam(b1=0.9, b2=0.99),
        hf.cautious_mask(),
        hf.lokr_lr_scale(damping=0.3, ratio=4.0),
        hf.add_decayed_weights(1e-2),
        hf.scale_by_learning_rate(hf.Hyperparam("lr", 1e-3)),
    )
    return hf.Optimizer(named_params, tx, lr=lr)


OPTIMIZERS = {"torch AdamW": adamw, "HinaAdamW, presets.lokr": hina_adamw, "chain by hand": by_hand}
RATES = (3e-2, 1e-1, 3e-1, 1.0)


@dataclass(frozen=True)
class Split:
    """Images ``[n, 1, 8, 8]`` in [0, 1] with their digits: to train on, to choose by, to report."""

    train: tuple[Tensor, Tensor]
    valid: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Run:
    """One adaptation: the validation loss every few steps, and how it ended."""

    curve: list[float]
    loss: float
    accuracy: float
    steps_to_target: float
    milliseconds: float


def digits(wanted: range, seed: int) -> Split:
    """The wanted digits, split 60/20/20."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(seed))
    images = torch.tensor(bunch.images, dtype=torch.float32)[order].unsqueeze(1) / 16
    labels = torch.tensor(bunch.target)[order]
    of_part = (labels >= wanted.start) & (labels < wanted.stop)
    images, labels = images[of_part], labels[of_part]
    ends = [len(labels) * share // 10 for share in (0, 6, 8, 10)]
    train, valid, test = ((images[a:b], labels[a:b]) for a, b in pairwise(ends))
    return Split(train, valid, test)


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor], steps: int, seed: int
) -> Iterable[int]:
    """Takes the steps one by one, on batches that the seed alone decides, while the learning rate falls to 0."""
    images, labels = data
    generator = torch.Generator().manual_seed(seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(1, steps + 1):
        batch = torch.randint(len(labels), (BATCH,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
        yield step


@torch.no_grad()
def judge(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Loss and accuracy."""
    logits, labels = model(data[0]), data[1]
    return float(cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean())


def pretrained(seed: int) -> nn.Module:
    """A small convolutional network that knows the digits 0 to 4."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.GELU()),
        *(nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.GELU(), nn.Flatten()),
        *(nn.Linear(1024, 128), nn.GELU(), nn.Linear(128, 10)),
    )
    for _ in train(model, torch.optim.AdamW(model.parameters(), 2e-3), digits(range(5), seed).train, 120, seed):
        pass
    return model.requires_grad_(False)


def with_lokr(base: nn.Module, seed: int) -> tuple[nn.Module, nn.Module]:
    """A copy of the network whose layers carry LoKr factors, and the factors."""
    from lycoris import LycorisNetwork, create_lycoris

    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    model = copy.deepcopy(base)
    torch.manual_seed(seed)
    LycorisNetwork.apply_preset({"target_module": ["Conv2d", "Linear"]})
    adapter: Any = create_lycoris(
        model, 1.0, linear_dim=4, linear_alpha=4, conv_dim=4, conv_alpha=4, algo="lokr", factor=4
    )
    adapter.apply_to()
    return model, adapter


def adapt(base: nn.Module, data: Split, optimizer: str, lr: float, steps: int, seed: int) -> Run:
    """Teaches the frozen network new digits through its LoKr factors."""
    model, adapter = with_lokr(base, seed)
    stepper = train(model, OPTIMIZERS[optimizer](adapter.named_parameters(), lr), data.train, steps, seed)
    curve, reached, spent, since = [judge(model, data.valid)[0]], math.inf, 0.0, time.perf_counter()
    for step in stepper:
        if step % EVERY == 0:
            spent += time.perf_counter() - since
            loss, accuracy = judge(model, data.valid)
            curve.append(loss)
            reached = min(reached, step) if accuracy >= TARGET else reached
            since = time.perf_counter()
    return Run(curve, *judge(model, data.test), reached, 1e3 * spent / steps)


def progress(done: int, total: int, label: str) -> None:
    """One line that grows on a terminal, one line a run elsewhere."""
    bar = "#" * (30 * done // total)
    live = sys.stderr.isatty()
    print(
        f"{chr(13) if live else ''}[{bar:.<30}] {done}/{total} {label:<40}", end="" if live else "\n", file=sys.stderr
    )
    sys.stderr.flush()
    if live and done == total:
        print(file=sys.stderr)


def compete(seeds: int, steps: int, rates: Sequence[float]) -> tuple[dict[str, float], dict[str, list[Run]]]:
    """The learning rate of each optimizer, and its runs, seed by seed."""
    tuning = TUNING if len(rates) > 1 else ()
    used = [*tuning, *range(seeds)]
    bases = {seed: pretrained(seed) for seed in used}
    parts = {seed: digits(range(5, 10), seed) for seed in used}
    done = count(1)
    total = len(OPTIMIZERS) * (len(tuning) * len(rates) + seeds)

    def one(name: str, lr: float, seed: int) -> Run:
        run = adapt(bases[seed], parts[seed], name, lr, steps, seed)
        progress(next(done), total, f"{name}, lr {lr:g}, seed {seed}: loss {run.loss:.3f}")
        return run

    def tuning_loss(name: str, lr: float) -> float:
        loss = sum(one(name, lr, seed).curve[-1] for seed in tuning)
        return loss if math.isfinite(loss) else math.inf

    def choose(name: str) -> float:
        return min(rates, key=lambda lr: tuning_loss(name, lr))

    chosen = {name: choose(name) for name in OPTIMIZERS}
    return chosen, {name: [one(name, chosen[name], seed) for seed in range(seeds)] for name in OPTIMIZERS}


def spread(numbers: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{mean(numbers):.{digits}f} ± {stdev(numbers):.{digits}f}"


def closing_table(rates: dict[str, float], runs: dict[str, list[Run]]) -> str:
    """What each optimizer reached: mean ± standard deviation over the seeds, and the range of the steps."""
    rows = [("optimizer", "lr", "test loss", "test accuracy", f"steps to {TARGET:.0%}", "ms/step")]
    for name, of_name in runs.items():
        loss = spread([run.loss for run in of_name], 3)
        accuracy = spread([100 * run.accuracy for run in of_name], 1) + " %"
        reached = sorted(run.steps_to_target for run in of_name)
        middle, low, high = (f"{x:g}" if x < math.inf else "never" for x in (median(reached), reached[0], reached[-1]))
        steps = middle if low == high else f"{middle} ({low} to {high})"
        rows.append((name, f"{rates[name]:g}", loss, accuracy, steps, f"{mean(r.milliseconds for r in of_name):.1f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def verdict(runs: dict[str, list[Run]]) -> str:
    """Who won on test loss, seed against seed; a clear win takes three seeds and a lead of two standard errors."""
    first, *others = sorted(runs, key=lambda name: mean(run.loss for run in runs[name]))
    lines = [f"Lowest test loss: {first}."]
    for other in others:
        leads = [b.loss - a.loss for a, b in zip(runs[first], runs[other], strict=True)]
        error = stdev(leads) / math.sqrt(len(leads))
        word = "a clear win" if len(leads) > 2 and mean(leads) > 2 * error else "no clear win"
        wins = f"on {sum(lead > 0 for lead in leads)} of {len(leads)} seeds"
        lines.append(f"  against {other}: {mean(leads):.3f} ± {error:.3f} (standard error) lower, {wins}: {word}.")
    return "\n".join(lines)


def picture(runs: dict[str, list[Run]], rates: dict[str, float], path: Path) -> None:
    """The validation losses: their mean over the seeds, and their range as a band."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, of_name in runs.items():
        curves = torch.tensor([run.curve for run in of_name])
        steps = [EVERY * k for k in range(curves.shape[1])]
        axes.plot(steps, curves.mean(0).tolist(), label=f"{name}, lr {rates[name]:g}")
        axes.fill_between(steps, curves.amin(0).tolist(), curves.amax(0).tolist(), alpha=0.15)
    axes.set(xlabel="step", ylabel="validation loss", yscale="log", title="LoKr: from digits 0 to 4 to digits 5 to 9")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    missing = [package for module, package in NEEDS.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"The demo also needs {', '.join(missing)}: python -m pip install 'hina_func[demo]'", file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # the tensors are too small to share
    began = time.perf_counter()
    print(f"\n{hf.find_adapters(with_lokr(pretrained(0), 0)[1])}\n")
    seeds, steps, rates = (2, 30, (1e-1,)) if arguments.quick else (arguments.seeds, 120, RATES)
    chosen, runs = compete(seeds, steps, rates)
    picture(runs, chosen, arguments.out)
    print(f"\n{closing_table(chosen, runs)}\n\n{verdict(runs)}")
    if len(rates) > 1:
        grid = ", ".join(f"{lr:g}" for lr in rates)
        print(f"Each learning rate is the best of {grid} by validation loss, on other seeds than these.")
    print(f"Loss curves: {arguments.out}. {time.perf_counter() - began:.0f} s.")
    return 0


def at_least_two(text: str) -> int:
    """A number of seeds that has a spread."""
    if (seeds := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, got {text}")
    return seeds


def add_command(commands: Any) -> None:
    """Adds ``demo`` to the command line."""
    parser = commands.add_parser("demo", help="adapt a digit classifier through LoKr, with three optimizers")
    parser.add_argument("--seeds", type=at_least_two, default=5, help="runs per optimizer (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="the picture (default: demo.png)")
    parser.add_argument("--quick", action="store_true", help="two seeds, 30 steps, one learning rate")
    parser.set_defaults(run=run)
