"""What a reader sees is true: examples run, pages are complete, and they build without a warning."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import io
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import hina_func as hf
from hina_func.state import entries

ROOT = Path(__file__).parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh-TW.md"]
PAGES = [*READMES, *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [module.name for module in pkgutil.walk_packages(hf.__path__, "hina_func.") if "__main__" not in module.name]
PUBLIC = [
    name
    for name in getattr(hf, "__all__", vars(hf))
    if not name.startswith("_") and not isinstance(getattr(hf, name), ModuleType)
]
DOCUMENTED = [name for name in PUBLIC if callable(getattr(hf, name))]
TRANSFORMS = [name for name in DOCUMENTED if getattr(hf, name).__module__.startswith("hina_func.transforms")]
FUNCTIONS = [name for name in DOCUMENTED if inspect.isfunction(getattr(hf, name))]


def blocks(page: Path, *kinds: str) -> list[tuple[int, str]]:
    """Line number and text of every fenced block of these kinds."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```({'|'.join(map(re.escape, kinds))})\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(2)), match.group(2)) for match in found]


def examples_of(page: Path) -> list[doctest.Example]:
    """The examples of a page, with their line numbers, less the blocks whose ``:skipif:`` holds."""
    examples = []
    for line, text in blocks(page, "{doctest}", "pycon"):
        condition = re.match(r":skipif: (.*)\n", text)
        if condition is None or not eval(condition.group(1), {"find_spec": find_spec}):
            body = text if condition is None else "\n" + text[condition.end() :]
            for example in doctest.DocTestParser().get_examples(body, str(page)):
                example.lineno += line
                examples.append(example)
    return examples


def report_of(test: doctest.DocTest) -> str:
    """What fails, as text: empty if all is well."""
    out = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    runner.run(test, out=out.write, clear_globs=False)
    return out.getvalue()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_of_a_page_prints_what_it_says(page: Path) -> None:
    assert not blocks(page, "python-repl", "py"), "write ```pycon or ```{doctest}, which are run"
    test = doctest.DocTest(examples_of(page), {}, page.name, str(page), 0, None)
    assert not (failures := report_of(test)), failures


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", MODULES)
def test_every_example_of_a_module_prints_what_it_says(name: str) -> None:
    module = importlib.import_module(name)
    failures = [report_of(test) for test in doctest.DocTestFinder().find(module)]
    assert not any(failures), "".join(failures)


class FactorsOnly(torch.nn.Module):
    """Stands for the networks that the READMEs take for granted."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.ones(shape)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_without_a_prompt_runs(page: Path) -> None:
    given = {
        "lycoris_network": FactorsOnly(lokr_w1=(2, 2), lokr_w2=(4, 4)),
        "peft_model": FactorsOnly(lora_A=(1, 4), lora_B=(4, 1)),
    }
    for _, code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {"hf": hf, "torch": torch, **given})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_arguments_shown_for_sd_scripts_are_accepted(page: Path) -> None:
    for _, command in blocks(page, "sh"):
        if "--optimizer_args" in command:
            assert "--optimizer_type hina_func.HinaAdamW" in command
            shown = re.findall(r'"(\w+=[^"]*)"', command.split("--optimizer_args")[1])
            given = dict(text.split("=", 1) for text in shown)
            assert given
            hf.HinaAdamW([torch.zeros(1)], **{name: ast.literal_eval(value) for name, value in given.items()})


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_links_of_a_readme_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert not missing


@pytest.mark.parametrize("command", ["demo", "tests"])
def test_both_readmes_give_one_and_the_same_command(command: str) -> None:
    marked = rf"<!-- command: {command} -->\n```sh\n(.*)\n```"
    found = [re.findall(marked, page.read_text(encoding="utf-8")) for page in READMES]
    assert found[0] == found[1]
    assert len(found[0]) == 1


def rows_of(page: Path) -> dict[str, list[str]]:
    """Name -> cells of the table rows that begin with a name in backticks, linked or not."""
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^\| (?:\{func\}`~hina_func\.|`)(\w+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: re.split(r"(?<!\\) \| ", cells) for name, cells in lines}


def test_every_public_name_is_on_the_api_page() -> None:
    shown = re.findall(r"^\.\. auto\w+:: ([\w.]+)", (ROOT / "docs/api.rst").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for name in shown if "." not in name) == sorted(PUBLIC)


def test_every_function_is_in_the_catalog() -> None:
    assert rows_of(ROOT / "docs/catalog.md").keys() == {*FUNCTIONS, *TRANSFORMS} - NOT_IN_CATALOG


NOT_IN_CATALOG = {
    "apply_updates",
    "find_adapters",
    "adamw_state_dict",
    "load_adamw_state_dict",
    "load_checkpoint",
    "load_named_state",
    "named_state",
    "save_checkpoint",
}
"""Functions on trees and states."""


def test_every_transform_is_in_the_table_of_the_readme() -> None:
    assert rows_of(ROOT / "README.md").keys() == set(TRANSFORMS)


def test_the_translated_table_shows_transforms_that_exist() -> None:
    assert rows_of(ROOT / "README.zh-TW.md").keys() <= set(TRANSFORMS)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_has_a_docstring_that_begins_with_a_sentence(name: str) -> None:
    thing = getattr(hf, name)
    assert thing.__doc__, name
    assert re.match(r"\S.*[.:]$", thing.__doc__.split("\n\n")[0].replace("\n", " ")), thing.__doc__.split("\n")[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_example(name: str) -> None:
    assert ">>> " in inspect.getdoc(getattr(hf, name))


@pytest.mark.parametrize("name", [*FUNCTIONS, "Hyperparam", "Optimizer", "HinaAdamW"])
def test_every_argument_is_described_in_order(name: str) -> None:
    function = getattr(hf, name)
    listed = re.search(r"^Args:\n((?:    .*\n|\n)*)", inspect.getdoc(function), re.MULTILINE)
    described = re.findall(r"^    (\w+): \S", listed.group(1), re.MULTILINE) if listed else []
    assert described == [parameter for parameter in inspect.signature(function).parameters if parameter != "index"]


@pytest.mark.parametrize("name", [*TRANSFORMS, "hina_adamw"])
def test_every_transform_has_a_formula_and_says_what_it_reads_and_keeps(name: str) -> None:
    text = inspect.getdoc(getattr(hf, name))
    assert ".. math::" in text
    assert re.search(r"^\| Reads: .*?Keeps: ", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_names_its_source(name: str) -> None:
    assert re.search(r"^Source: \S", inspect.getdoc(getattr(hf, name)), re.MULTILINE)


REQUIRED: dict[str, Any] = {
    "decay": 0.9,
    "learning_rate": 1.0,
    "max_delta": 1.0,
    "max_norm": 1.0,
    "ratio": 16.0,
    "step_size": 1.0,
    "step_size_fn": lambda step: 1.0 / (1 + step),
    "strength": 0.06,
}


def with_defaults(name: str) -> hf.GradientTransformation:
    """The transform as its factory makes it when given nothing that can be left out."""
    parameters = inspect.signature(getattr(hf, name)).parameters.values()
    return getattr(hf, name)(**{p.name: REQUIRED[p.name] for p in parameters if p.default is p.empty})


def kept(tx: hf.GradientTransformation, **shapes: tuple[int, ...]) -> int:
    """Bytes of state for float32 parameters of these shapes, ``__`` standing for a dot."""
    params = {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}
    return sum(tensor.numel() * tensor.element_size() for _, tensor in entries(tx.init(params)))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_catalog_is_right_about_memory(name: str) -> None:
    said = rows_of(ROOT / "docs/catalog.md")[name][2]
    tx = with_defaults(name)
    if said == "1 per module":
        lora = {f"{m}__lora_{side}": (2, 2) for m in "qk" for side in "AB"}
        lokr = {f"{m}__lokr_w{i}": (2, 2) for m in "qk" for i in (1, 2)}
        assert kept(tx, w=(10,)) == 0
        assert kept(tx, **(lora if name.startswith("lora") else lokr)) == 2
    else:
        per_element, constant = re.fullmatch(r"(?:(\d+)n(?: \+ |$))?(\d+)?", said).groups(default="0")
        for n in (1, 10):
            assert kept(tx, w=(n,)) == int(per_element) * n + int(constant)


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("sphinx", "myst_parser", "furo"))), reason="needs the docs extra")
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-n", "-T", "-W", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    command += ["docs", str(tmp_path / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
