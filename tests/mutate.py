"""A mutation run: small changes to the source, one at a time, and whether the tests that matter notice.

``python tests/mutate.py hina_func/transforms/mask.py`` changes one file, ``python tests/mutate.py`` all of
``hina_func/transforms``, ``hina_func/optim`` and ``hina_func/adapters.py``. Outcomes are kept in ``build/mutations``: a
run that was stopped goes on where it was, until the source changes. The files themselves are never touched.

Every mutation runs in a process of its own, forked from one that has torch imported already and this library not. Left
alone are annotations, which nothing evaluates, documentation and the texts of errors.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis  # noqa: F401  imported before the forks, so that none of them has to
import numpy as np  # noqa: F401
import pytest
import torch

ROOT = Path(__file__).parent.parent
WHERE = ROOT / "build" / "mutations"
LAST = "last.txt"
"""What the tests said last."""

TARGETS = ("hina_func/transforms", "hina_func/optim", "hina_func/adapters.py")

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}

CONTRACT = ["test_contract.py", "test_low_precision.py", "test_parity_optax.py", "test_parity_torch.py"]
OF_THE_OPTIMIZER = ["test_optimizer.py", "test_execution.py", "test_resume.py", "test_transfer.py"]
MORE = {
    "adapters": ["test_adapters.py", "test_roles.py", "test_layout.py"],
    "optim.checkpoint": ["test_resume.py", "test_transfer.py", "test_optimizer.py"],
    "optim.renamed": ["test_transfer.py"],
    "optim.saving": ["test_saving.py"],
    "optim.sealed": ["test_saving.py"],
    "optim.sharding": ["test_optimizer.py", "test_distributed.py"],
    "optim.transfer": ["test_transfer.py"],
}
"""Beside a file's own tests: what else asks for it."""


class Mutation(NamedTuple):
    """One change: the number of the node, which of its changes, and how it reads."""

    node: int
    change: int
    line: int
    old: str
    new: str


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in a node's place."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPPED:
        yield _with(node, op=SWAPPED[type(node.op)]())
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield _with(node, ops=[SWAPPED[type(node.ops[0])]()])
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.If) and not isinstance(node.test, ast.Compare):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_value(node.func.value):
        yield node.func.value
    elif isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
        yield node.args[0]


def _with(node: Any, **fields: Any) -> Any:
    return type(node)(**{**{key: getattr(node, key) for key in node._fields}, **fields})


def _is_value(node: ast.AST) -> bool:
    """Whether it is a value with a method: ``x.abs()`` can be x, ``torch.abs`` not torch; tensors have one letter."""
    return (isinstance(node, ast.Name) and len(node.id) == 1) or not isinstance(node, ast.Name | ast.Attribute)


def visited(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Parent, field, index and node of everything that is evaluated and is no text."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") or isinstance(tree, ast.Raise):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                if not isinstance(tree, ast.Expr):
                    yield tree, name, index, child
                yield from visited(child)


def mutations(source: str) -> list[Mutation]:
    """Every change of a source."""
    found = []
    for number, (_, _, _, node) in enumerate(visited(ast.parse(source))):
        for change, new in enumerate(changes(node)):
            old = ast.unparse(node)
            found.append(Mutation(number, change, getattr(node, "lineno", 0), old, ast.unparse(new)))
    return found


def mutated(source: str, mutation: Mutation) -> str:
    """The source with one change."""
    tree = copy.deepcopy(ast.parse(source))
    parent, name, index, node = list(visited(tree))[mutation.node]
    new = list(changes(node))[mutation.change]
    if index is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[index] = new
    return ast.unparse(ast.fix_missing_locations(tree))


def questions(path: Path) -> list[list[str]]:
    """The runs of pytest that a file must pass: its own tests first, then the shared ones on what it defines."""
    dotted = ".".join(path.relative_to(ROOT / "hina_func").with_suffix("").parts)
    own = [str(path), *(str(found) for found in (ROOT / "tests").rglob(f"test_{path.stem}.py"))]
    if dotted.startswith("transforms."):
        known = {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}
        public = known & set((ROOT / "hina_func" / "__init__.py").read_text("utf-8").replace(",", " ").split())
        return [own, [*(str(ROOT / "tests" / name) for name in CONTRACT), "-k", " or ".join(sorted(public))]]
    shared = [str(ROOT / "tests" / name) for name in MORE.get(dotted, OF_THE_OPTIMIZER)]
    return [list(dict.fromkeys([*own, *shared]))]


class Finder(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds one module in another text than its file's."""

    def __init__(self, module: str, path: Path, text: str) -> None:
        super().__init__(module, str(path))
        self.text = text

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> Any:
        return compile(self.text, self.path, "exec", dont_inherit=True)


def outcome_of(path: Path, text: str, limit: float) -> tuple[str, float]:
    """What the tests make of a file with this text, in a process of its own: survived, killed or timeout; seconds."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        said = os.open(WHERE / LAST, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        code = 1
        try:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            sys.meta_path.insert(0, Finder(module, path, text))
            importlib.import_module(module)
            plainly = ["-x", "-q", "-m", "not compile", "-p", "no:cacheprovider"]
            plainly += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what was imported before the fork
            code = int(any(pytest.main([*run, *plainly]) not in (0, 5) for run in questions(path)))
        finally:
            os._exit(code)
    while time.monotonic() - start < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return ("killed" if status else "survived"), time.monotonic() - start
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", limit


def run(path: Path, until: float) -> list[dict[str, Any]]:
    """Outcomes of a file's mutations, those of earlier runs included; as many as there is time for."""
    source = path.read_text("utf-8")
    print_of = hashlib.sha256(source.encode()).hexdigest()
    kept = WHERE / f"{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}.jsonl"
    known: dict[tuple[int, int], dict[str, Any]] = {}
    if kept.exists():
        rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
        known = {(row["node"], row["change"]): row for row in rows if row["source"] == print_of}
    todo = mutations(source)
    name = path.relative_to(ROOT)
    print(f"{name}: {len(todo)} mutations, {len(known)} known", flush=True)
    limit = 0.0
    for number, mutation in enumerate(todo, 1):
        if (mutation.node, mutation.change) in known or time.monotonic() > until:
            continue
        if not limit:
            outcome, seconds = outcome_of(path, ast.unparse(ast.parse(source)), 3600.0)
            if outcome != "survived":
                raise SystemExit(f"{name}: the tests fail without a mutation, see {WHERE / LAST}")
            limit = 30.0 + 3 * seconds
            print(f"{name}: the tests take {seconds:.0f} s", flush=True)
        outcome, seconds = outcome_of(path, mutated(source, mutation), limit)
        row = {**mutation._asdict(), "outcome": outcome, "seconds": round(seconds, 1), "source": print_of}
        known[mutation.node, mutation.change] = row
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"[{number}/{len(todo)}] {outcome} {seconds:5.1f} s  {shown(name, row)}", flush=True)
    return [known[key] for m in todo if (key := (m.node, m.change)) in known]


def shown(name: Path, row: dict[str, Any]) -> str:
    """A mutation in a line."""
    old, new = (" ".join(row[key].split())[:90] for key in ("old", "new"))
    return f"{name}:{row['line']}  {old}  =>  {new}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=TARGETS, help="files or folders instead of all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; the next run goes on")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    WHERE.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + asked.seconds
    given = [ROOT / path for path in asked.files]
    paths = [found for path in given for found in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    summary = []
    for path in paths:
        if path.name == "__init__.py":
            continue
        rows = run(path, until)
        left = [row for row in rows if row["outcome"] == "survived"]
        if rows:
            killed = len(rows) - len(left)
            todo = len(mutations(path.read_text("utf-8"))) - len(rows)
            share = f"{killed} of {len(rows)} killed, {100 * killed / len(rows):.0f} %"
            summary.append(f"{path.relative_to(ROOT)}: {share}, {todo} to do")
            summary += [f"  survived  {shown(path.relative_to(ROOT), row)}" for row in left]
    (WHERE / "summary.txt").write_text("\n".join(summary) + "\n", "utf-8")
    print("\n".join(summary))


if __name__ == "__main__":
    main()
