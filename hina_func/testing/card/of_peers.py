"""Optimizers of HeavyBall, timm, TorchOpt, optax and schedulefree."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..subjects import Functional
from .claims import (
    INHERITED,
    LION,
    MUON_ROUNDS,
    adam_bound,
    adopt_bound,
    cautious,
    equals,
    maximizes,
    rms_bound,
    scales_with_gradient,
    sign_bound,
)
from .library import Claim, Contestant, Library, built, written

LR = 0.01
Rows = Sequence[tuple[str, dict[str, Any], Sequence[Claim]]]

HEAVYBALL_DOCS = "https://github.com/HomebrewML/HeavyBall"
TIMM_DOCS = "https://huggingface.co/docs/timm/reference/optimizers"
TORCHOPT_DOCS = "https://torchopt.readthedocs.io/"
OPTAX_DOCS = "https://optax.readthedocs.io/en/latest/api/optimizers.html"

EXACT = 1 + 1e-5

HEAVYBALL: Rows = (
    ("AdamW", {"betas": (0.9, 0.999)}, [adam_bound(LR * EXACT)]),
    ("AdamW", {"caution": True}, [cautious(HEAVYBALL_DOCS)]),
    ("ADOPT", {}, []),
    ("ADOPT", {"caution": True}, [cautious(HEAVYBALL_DOCS)]),
    ("AdEMAMix", {}, []),
    ("LaProp", {}, []),
    ("LaProp", {"caution": True}, [cautious(HEAVYBALL_DOCS)]),
    ("Muon", {}, []),
    ("RMSprop", {}, []),
    ("SFAdamW", {}, []),
    ("SGD", {}, []),
    ("SignLaProp", {}, []),
)


def heavyball() -> list[Contestant]:
    """Eager: it would compile for every shape."""
    library = importlib.import_module("heavyball")
    library.utils.compile_mode = None
    frees = {"purity": "By design: consume_grad, on by default, frees gradients in the step."}
    found = []
    for name, options, claims in HEAVYBALL:
        subject = built(getattr(library, name), name, LR, **options)
        excused = frees | (MUON_ROUNDS if name == "Muon" else {})
        found.append(Contestant(subject.name, subject, claims, excused, INHERITED))
    one, many = (built(library.AdamW, "AdamW", LR, multi_tensor=many) for many in (False, True))
    found.append(Contestant(one.name, one, [equals(many, f"{HEAVYBALL_DOCS}: multi_tensor", 1e-5)], frees, INHERITED))
    return found


TIMM: Rows = (
    ("adamw.AdamWLegacy", {"weight_decay": 0.0}, [adam_bound(LR)]),
    ("adamw.AdamWLegacy", {"weight_decay": 0.0, "caution": True}, [cautious(TIMM_DOCS)]),
    ("adan.Adan", {}, []),
    ("adan.Adan", {"caution": True}, [cautious(TIMM_DOCS)]),
    ("adopt.Adopt", {"clip_exp": 0.25}, [adopt_bound(LR)]),
    ("adopt.Adopt", {"caution": True}, [cautious(TIMM_DOCS)]),
    ("lamb.Lamb", {}, []),
    ("laprop.LaProp", {"caution": True}, [cautious(TIMM_DOCS)]),
    ("lion.Lion", {}, [sign_bound(LR, LION)]),
    ("lion.Lion", {"caution": True}, [cautious(TIMM_DOCS)]),
    ("mars.Mars", {"caution": True}, [cautious(TIMM_DOCS)]),
    ("nadamw.NAdamW", {}, []),
    ("sgdw.SGDW", {"momentum": 0.9, "caution": True}, [cautious(TIMM_DOCS)]),
)
LAMB = {"company_independence": "Its max_grad_norm, 1.0 unless changed, is a norm over all parameters."}
TIMM_TWINS = ("adopt.Adopt", "lion.Lion", "nadamw.NAdamW")


def timm() -> list[Contestant]:
    """From the files of timm.optim: see `_timm_optim`."""
    classes = _timm_optim(sorted({name for name, *_ in TIMM}))
    found = []
    for name, options, claims in TIMM:
        subject = built(classes[name], name.partition(".")[2], LR, **options)
        excused = LAMB if name == "lamb.Lamb" else {}
        found.append(Contestant(subject.name, subject, claims, excused, INHERITED))
    for name in TIMM_TWINS:
        short = name.partition(".")[2]
        loop, fast = (built(classes[name], short, LR, foreach=foreach) for foreach in (False, True))
        found.append(Contestant(fast.name, fast, [equals(loop, f"{TIMM_DOCS}: foreach")], remarks=INHERITED))
    up = built(classes["lion.Lion"], "Lion", LR, maximize=True)
    plain = built(classes["lion.Lion"], "Lion", LR)
    return [*found, Contestant(up.name, up, [maximizes(plain, TIMM_DOCS)], remarks=INHERITED)]


def _timm_optim(paths: Sequence[str]) -> dict[str, Any]:
    """Classes by ``file.Class``. The files are timm's own; only ``__init__`` files do not run.

    They import timm's image models, and with them torchvision, which no optimizer uses.
    """
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "timm"}
    try:
        for package in ("timm", "timm.optim"):
            spec = importlib.util.find_spec(package)
            if spec is None:
                raise ModuleNotFoundError(f"no module named {package}")
            sys.modules[package] = importlib.util.module_from_spec(spec)
        modules = {path: importlib.import_module(f"timm.optim.{path.partition('.')[0]}") for path in paths}
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "timm" and name not in before]:
            del sys.modules[name]
        sys.modules.update(before)
    return {path: getattr(module, path.partition(".")[2]) for path, module in modules.items()}


TORCHOPT: Rows = (
    ("Adam", {}, [adam_bound(LR)]),
    ("AdamW", {}, []),
    ("AdaGrad", {}, []),
    ("AdaMax", {}, []),
    ("RMSProp", {}, [rms_bound(LR, 0.99, TORCHOPT_DOCS)]),
    ("SGD", {"momentum": 0.9}, [scales_with_gradient(TORCHOPT_DOCS)]),
)
NO_GROUPS = "Its Optimizer is not one of torch.optim: a state dict is a tuple, and param_groups holds parameters alone."


def torchopt() -> list[Contestant]:
    """Its classes with the face of torch.optim."""
    library = importlib.import_module("torchopt")
    excused = dict.fromkeys(("saved_stays", "state_dtype_kept", "still_at_zero_lr"), NO_GROUPS)
    found = []
    for name, options, claims in TORCHOPT:
        subject = built(getattr(library, name), name, LR, **options)
        found.append(Contestant(subject.name, subject, claims, excused))
    return found


OPTAX: Rows = (
    ("adam", {}, [adam_bound(LR)]),
    ("adamw", {}, []),
    ("contrib.adopt", {}, [adopt_bound(LR)]),
    ("lion", {"weight_decay": 0.0}, [sign_bound(LR, LION)]),
    ("sgd", {"momentum": 0.9}, [scales_with_gradient(OPTAX_DOCS)]),
)


def optax() -> list[Contestant]:
    """Its transformations, in float64."""
    importlib.import_module("jax").config.update("jax_enable_x64", True)
    found = []
    for name, options, claims in OPTAX:
        make: Any = importlib.import_module("optax")
        for part in name.split("."):
            make = getattr(make, part)
        subject = Functional(make(LR, **options), written(name, options))
        found.append(Contestant(subject.name, subject, claims))
    return found


def schedulefree() -> list[Contestant]:
    """In training mode, which they ask for."""
    library = importlib.import_module("schedulefree")

    def training(kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(params: Any, **options: Any) -> Any:
            optimizer = kind(params, **options)
            optimizer.train()
            return optimizer

        return make

    found = []
    for name in ("AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"):
        loop, fast = (built(training(getattr(library, name)), name, LR, foreach=fast) for fast in (False, True))
        source = "https://github.com/facebookresearch/schedule_free: foreach"
        found.append(Contestant(loop.name, loop, remarks=INHERITED))
        found.append(Contestant(fast.name, fast, [equals(loop, source)], remarks=INHERITED))
    return found


LIBRARIES = (
    Library(
        "heavyball",
        "heavyball",
        heavyball,
        "At lr=0.01, a choice of its first-order methods, eager (compile_mode = None). Not its SOAP, which takes no "
        "float64 parameters, in which laws are asked. Its state is float32 unless asked otherwise, so that what it "
        "computes in float64 is exact to float32.",
    ),
    Library(
        "timm",
        "timm",
        timm,
        "At lr=0.01: the files of timm.optim as they are, without the package's __init__, which imports its image "
        "models and torchvision. Install it by python -m pip install --no-deps timm",
    ),
    Library(
        "torchopt",
        "torchopt",
        torchopt,
        "At lr=0.01, its Optimizer classes, not the functional form and not MetaOptimizer.",
    ),
    Library(
        "optax",
        "optax",
        optax,
        "At learning_rate=0.01, functional, in float64, through arrays of numpy; laws about missing gradients, "
        "bfloat16, memory and writing in place are not about these.",
    ),
    Library("schedulefree", "schedulefree", schedulefree, "At lr=0.01, after train(), in which mode steps are taken."),
)
