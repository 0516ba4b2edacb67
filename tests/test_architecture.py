"""The house: imports point downwards, files are short, formulas read no values and keep none, names are documented."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from catalog import ROWS, SHAPES

import hina_func as hf

HOUSE = Path(hf.__file__).parent
FILES = {".".join(path.relative_to(HOUSE).with_suffix("").parts): path for path in sorted(HOUSE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in FILES.items()}

FLOORS = (
    ("core", "numerics", "roles"),
    ("checks", "curves", "moments", "tree"),
    ("adapters", "schedules"),
    ("layout",),
    ("link", "state"),
    ("border",),
    ("lift", "links"),
    ("gates", "modules"),
    ("compose",),
    (
        "transforms.__init__",
        "transforms.clip",
        "transforms.decay",
        "transforms.lr_scale",
        "transforms.mask",
        "transforms.penalty",
        "transforms.project",
        "transforms.scale",
        "transforms.scale_by_adam",
        "transforms.scale_by_adopt",
        "transforms.scale_by_rms",
        "transforms.trace",
    ),
    ("original_lr_scale",),
    ("original",),
    ("recipes",),
    (
        "optim.__init__",
        "optim.graph",
        "optim.groups",
        "optim.homes",
        "optim.numbers",
        "optim.renamed",
        "optim.report",
        "optim.sealed",
        "optim.sharding",
    ),
    ("optim.landing", "optim.naming"),
    ("optim.program", "optim.rows"),
    ("optim.pieces",),
    ("optim.checkpoint", "optim.engine", "optim.fused", "optim.zero"),
    ("optim.stepwise",),
    ("optim.run",),
    ("optim.optimizer",),
    ("optim.hina", "optim.saving", "optim.transfer"),
    ("__init__",),
    ("testing.subjects",),
    ("testing.checking", "testing.strategies.gradients", "testing.strategies.written"),
    ("testing.strategies.adapters", "testing.strategies.compositions"),
    ("testing.strategies.__init__",),
    (
        "testing.laws.adapters",
        "testing.laws.bounds",
        "testing.laws.composition",
        "testing.laws.conduct",
        "testing.laws.factors",
        "testing.laws.memory",
        "testing.laws.relations",
        "testing.laws.resume",
        "testing.laws.robust",
        "testing.laws.schedules",
        "testing.laws.symmetry",
        "testing.laws.twins",
    ),
    ("testing.laws.__init__",),
    ("testing.differential", "testing.plugin", "testing.properties", "testing.questions"),
    ("testing.declaring",),
    ("testing.declared.common",),
    (
        "testing.declared.compositions",
        "testing.declared.constraints",
        "testing.declared.parameters",
        "testing.declared.scales",
        "testing.declared.schedules",
    ),
    ("testing.declared.__init__",),
    ("testing.mutants.patching", "testing.mutants.responses"),
    (
        "testing.mutants.corpus.adam",
        "testing.mutants.corpus.adapters",
        "testing.mutants.corpus.gradients",
        "testing.mutants.corpus.machinery",
        "testing.mutants.corpus.masks",
        "testing.mutants.corpus.momentum",
        "testing.mutants.corpus.parameters",
        "testing.mutants.exhibits.base",
    ),
    (
        "testing.mutants.corpus.__init__",
        "testing.mutants.exhibits.gradients",
        "testing.mutants.exhibits.moments",
        "testing.mutants.exhibits.optimizers",
        "testing.mutants.exhibits.parameters",
    ),
    ("testing.mutants.exhibits.__init__",),
    ("testing.mutants.scoring",),
    ("testing.mutants.__init__",),
    ("testing.__init__",),
    ("testing.card.__init__", "testing.card.library"),
    ("testing.card.claims",),
    (
        "testing.card.cells",
        "testing.card.of_hina",
        "testing.card.of_peers",
        "testing.card.of_pytorch_optimizer",
        "testing.card.of_torch",
    ),
    ("testing.card.libraries",),
    ("testing.card.record", "testing.card.worker"),
    ("testing.card.page", "testing.card.runner", "testing.card.table"),
    ("testing.card.command",),
    ("demo", "report_card"),
    ("__main__",),
)
"""From the ground up. A file may import from floors below its own and from nowhere else, not even from its own."""

FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FORMULAS = [name for name in FILES if name.startswith("transforms.") or name in ("moments", "numerics")]
LIMIT = 300

house = pytest.mark.parametrize("name", FILES)
formulas = pytest.mark.parametrize("name", FORMULAS)


def imports(name: str) -> Iterator[str]:
    """The files of this package that a file imports, anywhere in it."""
    package = ["hina_func", *name.split(".")[:-1]]
    for node in ast.walk(TREES[name]):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found = [f"{module}.{alias.name}" for alias in node.names]
        for path in found:
            if path.split(".")[0] == "hina_func":
                yield file_of(path.split(".")[1:])


def file_of(path: list[str]) -> str:
    """The file that holds a dotted name: ``optim.rows.Rows`` is in ``optim.rows``, ``optim`` is ``optim.__init__``."""
    for end in range(len(path), -1, -1):
        for candidate in (".".join(path[:end]), ".".join([*path[:end], "__init__"])):
            if candidate in FILES:
                return candidate
    raise AssertionError(f"no file holds {'.'.join(path)}")


def third_party(name: str) -> set[str]:
    roots = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            roots.add(node.module.split(".")[0])
    return roots - set(sys.stdlib_module_names) - {"hina_func"}


def at(name: str, node: ast.AST) -> str:
    return f"{FILES[name].relative_to(HOUSE.parent)}:{getattr(node, 'lineno', '?')}"


def test_every_file_stands_on_a_floor_and_every_place_is_taken():
    assert FLOOR_OF.keys() == FILES.keys()


@house
def test_a_file_imports_only_from_floors_below_it(name):
    upward = [other for other in imports(name) if FLOOR_OF.get(other, len(FLOORS)) >= FLOOR_OF.get(name, len(FLOORS))]
    assert upward == []


def test_imports_are_seen_for_what_they_are():
    assert {"core", "lift", "numerics"} <= set(imports("transforms.clip"))
    assert {"optim.naming", "state"} <= set(imports("optim.checkpoint"))
    assert "__init__" in set(imports("demo"))
    assert file_of(["optim", "rows", "Rows"]) == "optim.rows"


@house
def test_a_file_needs_nothing_beside_torch_and_einops(name):
    more = {"demo": {"lycoris", "sklearn", "matplotlib"}, "optim.sealed": {"safetensors"}}
    extra = {"hypothesis", "numpy", "pytest"} if name.startswith("testing.") else more.get(name, set())
    assert third_party(name) <= {"torch", "einops", *extra}


@house
def test_a_file_is_short(name):
    lines = FILES[name].read_text(encoding="utf-8").count("\n")
    assert lines <= LIMIT, f"{lines} lines"


HOST_READS = {"item", "tolist", "cpu", "numpy", "nonzero", "is_nonzero", "equal", "allclose"}


@formulas
def test_formulas_read_no_values_from_tensors(name):
    found = []
    for node in ast.walk(TREES[name]):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in HOST_READS:
            found.append(f"{at(name, node)}: .{node.func.attr}()")
        if isinstance(node.func, ast.Name) and node.func.id in ("bool", "float", "int"):
            found.append(f"{at(name, node)}: {node.func.id}()")
    assert found == []


@formulas
def test_formulas_write_nothing_in_place(name):
    """No ``add_``, no ``+=``, no ``x[i] =`` (``by_role["a"] =`` is a dict), no ``out=``."""
    found = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call):
            attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if attribute.endswith("_") and not attribute.endswith("__"):
                found.append(f"{at(name, node)}: .{attribute}()")
            found += [f"{at(name, node)}: out=" for keyword in node.keywords if keyword.arg == "out"]
        if isinstance(node, ast.AugAssign) and not isinstance(node.op, ast.BitOr):
            found.append(f"{at(name, node)}: augmented assignment")
        targets = node.targets if isinstance(node, ast.Assign) else []
        for part in (inner for target in targets for inner in ast.walk(target)):
            if isinstance(part, ast.Subscript) and not isinstance(part.slice, ast.Constant):
                found.append(f"{at(name, node)}: assignment to a part")
    assert found == []


@formulas
def test_formulas_have_no_fallback_and_no_memory(name):
    banned = (ast.While, ast.Try, ast.Global, ast.Nonlocal)
    found = [f"{at(name, node)}: {type(node).__name__}" for node in ast.walk(TREES[name]) if isinstance(node, banned)]
    found += [f"{at(name, node)}: cache" for node in ast.walk(TREES[name]) if "cache" in getattr(node, "id", "")]
    assert found == []


def test_what_the_rules_forbid_would_be_found():
    bad = {
        "read": "def f(u):\n    return u * float(u.sum())\n",
        "item": "def f(u):\n    return u.sum().item()\n",
        "in place": "def f(u):\n    return u.mul_(2)\n",
        "augmented": "def f(u):\n    u += 1\n    return u\n",
        "part": "def f(u):\n    u[0] = 1\n    u[1:] = 2\n    return u\n",
        "fallback": "def f(u):\n    try:\n        return u\n    except RuntimeError:\n        return 0\n",
    }
    rules = (
        test_formulas_read_no_values_from_tensors,
        test_formulas_write_nothing_in_place,
        test_formulas_have_no_fallback_and_no_memory,
    )
    for kind, text in bad.items():
        TREES[kind], FILES[kind] = ast.parse(text), HOUSE / f"{kind}.py"
        try:
            caught = 0
            for rule in rules:
                try:
                    rule(kind)
                except AssertionError:
                    caught += 1
            assert caught == 1, kind
        finally:
            del TREES[kind], FILES[kind]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_update_works_on_tensors_without_values(row):
    """So it cannot wait for a device: reading a value of such a tensor is an error."""
    params = {name: torch.empty(shape, device="meta") for name, shape in SHAPES.items()}
    tx = row.build()
    state = tx.init(params)
    for _ in range(2):
        updates, state = tx.update(params, state, params)
    assert all(u.device.type == "meta" and u.shape == params[name].shape for name, u in updates.items())
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(updates["gain"])


def first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


@house
def test_a_torch_without_processes_will_do(name):
    """Some builds have no torch.distributed: it is imported by those who shard."""
    imports = [node for node in TREES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("torch.distributed" in ast.unparse(node) for node in imports)


@house
def test_a_file_says_what_it_is(name):
    text = ast.get_docstring(TREES[name]) or ""
    assert text.split("\n")[0].endswith((".", ":"))


PUBLIC = [name for name in hf.__all__ if callable(getattr(hf, name))]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented_with_its_public_methods(name):
    thing = getattr(hf, name)
    assert first_line(thing).endswith((".", ":", "?")), first_line(thing)
    assert len(first_line(thing)) <= 120
    if inspect.isclass(thing):
        for key, member in vars(thing).items():
            function = member.fget if isinstance(member, property) else member
            if not key.startswith("_") and inspect.isfunction(function):
                assert first_line(function).endswith((".", ":")), key


def test_all_lists_every_public_name_once_and_in_order():
    assert sorted(set(hf.__all__), key=hf.__all__.index) == hf.__all__
    assert hf.__all__ == sorted(hf.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert all(hasattr(hf, name) for name in hf.__all__)
    public = {name for name, thing in vars(hf).items() if not name.startswith("_") and not inspect.ismodule(thing)}
    assert public == set(hf.__all__)
