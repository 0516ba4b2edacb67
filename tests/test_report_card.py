"""The report card: what it finds, how it is shown, and what happens when something is missing, hangs or dies."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time
from functools import partial
from html.parser import HTMLParser
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from hina_func import report_card
from hina_func.__main__ import main
from hina_func.testing.card import command, runner, table, worker
from hina_func.testing.card.cells import VERDICTS, Cell, Effort, questions, statements
from hina_func.testing.card.libraries import LIBRARIES
from hina_func.testing.card.library import Library
from hina_func.testing.card.page import page
from hina_func.testing.card.record import card, findings, mark, summaries

LAWS = {
    "bounded",
    "determinism",
    "layout_independence",
    "never_against_the_gradient",
    "reordered_resume",
    "saved_stays",
    "sign_symmetry",
    "trees_alike",
}
SOME = {"AdamW(fused=True)", "HinaAdamW(formulas='original')", "Optimizer(scale_by_lion())"}
EFFORT = Effort(claimed=25, others=4, seconds=4.0)


def some(task: worker.Task) -> bool:
    return task.optimizer in SOME and task.law in LAWS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A card over three optimizers and eight laws, as the command makes it, and a library that is not there."""
    path = tmp_path_factory.mktemp("card") / "card.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LIBRARIES, "timm", Library("timm", "no-such-distribution", list, "A note."))
        patch.setitem(command.EFFORTS, "quick", EFFORT)
        patch.setattr(command, "run", partial(runner.run, keep=some))
        command.report(["torch", "timm", "hina_func"], "quick", path, path.with_suffix(".html"))
    card = json.loads(path.read_text(encoding="utf-8"))
    assert path.with_suffix(".html").read_text(encoding="utf-8") == page(card)
    return card


def cell(made: dict[str, Any], optimizer: str, law: str) -> dict[str, Any]:
    (found,) = [x for x in made["cells"] if (x["optimizer"], x["law"]) == (optimizer, law)]
    return found


@pytest.mark.parametrize(
    ("optimizer", "law", "steps", "elements"),
    [
        ("AdamW(fused=True)", "layout_independence", 1, 4),
        ("AdamW(fused=True)", "reordered_resume", 3, 2),
        ("AdamW(fused=True)", "saved_stays", 2, 1),
        ("HinaAdamW(formulas='original')", "bounded", 3, 4),
    ],
)
def test_known_bugs_are_found_unaided_in_few_numbers(
    made: dict[str, Any], optimizer: str, law: str, steps: int, elements: int
) -> None:
    found = cell(made, optimizer, law)
    assert found["verdict"] == "fails"
    assert found["counterexample"]["steps"] <= steps
    assert found["counterexample"]["elements"] <= elements


def test_what_is_promised_and_kept_holds_and_what_nobody_promised_is_not_claimed(made: dict[str, Any]) -> None:
    assert cell(made, "Optimizer(scale_by_lion())", "bounded")["verdict"] == "holds"
    assert cell(made, "AdamW(fused=True)", "determinism")["verdict"] == "holds"
    unclaimed = cell(made, "AdamW(fused=True)", "never_against_the_gradient")
    assert (unclaimed["verdict"], unclaimed["source"], mark(unclaimed)) == ("not claimed", "", "○")


def test_the_data_is_complete(made: dict[str, Any]) -> None:
    assert list(made) == ["format", "made", "libraries", "laws", "verdicts", "cells"]
    assert made["format"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made["made"]["date"])
    assert {"profile", "minutes", "python", "machine", "hina_func", "hypothesis", "torch"} < made["made"].keys()
    assert [x["name"] for x in made["laws"]] == list(statements())
    for found in made["cells"]:
        assert found.keys() == Cell.__dataclass_fields__.keys()
        assert found["verdict"] in VERDICTS
        assert (found["verdict"] == "fails") <= (found["counterexample"] is not None)
        assert bool(found["source"]) == (found["verdict"] in ("holds", "fails", "timed out"))
        assert 0 < found["examples"] <= 400
        if found["counterexample"]:
            assert found["counterexample"].keys() == {"example", "reason", "steps", "elements"}


def test_a_library_that_is_not_installed_is_shown_as_such(made: dict[str, Any]) -> None:
    status = "not installed: python -m pip install no-such-distribution"
    assert made["libraries"][1] == {"name": "timm", "version": None, "status": status, "note": "A note."}
    assert summaries(made)[1][:4] == ("timm", "not installed", 0, 0)
    assert f"not run: {status}" in page(made)
    assert re.search(rf"^timm +not run: {status}$", table.table(made), re.MULTILINE)


def test_findings_are_gathered_by_library_and_law_the_smallest_first(made: dict[str, Any]) -> None:
    found = findings(made)
    assert [(x.library, x.law) for x in found][:3] == [
        ("torch", "layout_independence"),
        ("torch", "reordered_resume"),
        ("torch", "saved_stays"),
    ]
    assert all(x.asked >= len(x.cells) for x in found)
    text = table.table(made)
    assert all(f"{x.library} · {x.law} · {len(x.cells)} of {x.asked}" in text for x in found)
    assert all(line in text for x in found for line in x.cells[0]["counterexample"]["reason"].splitlines())


@pytest.mark.parametrize("name", list(LIBRARIES))
def test_every_promise_names_where_it_is_made(name: str) -> None:
    if LIBRARIES[name].version() is None:
        pytest.skip(f"{name} is not installed")
    contestants = LIBRARIES[name].contestants()
    assert len({x.name for x in contestants}) == len(contestants)
    for contestant in contestants:
        asked = list(questions(contestant))
        assert len({claim.law.name for claim in asked}) == len(asked)
        assert {claim.law.name for claim in asked} - {"trees_alike"} <= statements().keys()
        for claim in contestant.claims:
            assert re.search(r"https://\S+|docs/\w+\.md", claim.source), claim
        assert contestant.excused.keys() <= {claim.law.name for claim in asked if not claim.source}


class Outline(HTMLParser):
    """Reads a page, sees that every element is closed, and keeps what would be loaded."""

    VOID = ("meta", "input", "br", "link", "img")
    IMPLIED = ("option",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("link", "img", "iframe") or "src" in given or "style" in given:
            self.loads.append(f"{tag} {attrs}")
        if given.get("id"):
            self.ids.append(given["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def test_the_page_is_well_formed_and_loads_nothing(made: dict[str, Any]) -> None:
    text = page(made)
    outline = Outline(text)
    assert (outline.open, outline.loads) == ([], [])
    assert len(set(outline.ids)) == len(outline.ids)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|WebSocket|eval)\s*\(", text[text.rindex("<script>") :])


def test_text_on_the_page_is_escaped(made: dict[str, Any]) -> None:
    evil = "</script><img src=x onerror=alert(1)>&\"'"
    bad = json.loads(json.dumps(made))
    for library in bad["libraries"]:
        library["note"] = evil
        library["status"] = library["status"] if library["status"] == "run" else evil
    for found in bad["cells"]:
        found["optimizer"] += evil
        found["remark"] = evil
        if found["counterexample"]:
            found["counterexample"]["reason"] = evil
    text = page(bad)
    assert Outline(text).loads == []
    data = re.search(r'<script type="application/json" id="card">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data.group(1)) == bad


def test_arguments_are_checked_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in [
        (["--optimizers", "torch,keras"], "must be of torch, hina_func, .* got keras"),
        (["--optimizers", ","], "got nothing"),
        (["--profile", "long"], "invalid choice: 'long'"),
        (["--json", str(tmp_path / "no" / "card.json")], "a file in a folder that exists"),
        (["--html", str(tmp_path)], "a file in a folder that exists"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(["report-card", *arguments])
        assert ended.value.code == 2
        assert re.search(said, capsys.readouterr().err)
    assert report_card.some_of_the_known("optax, torch,optax") == ["optax", "torch"]
    assert list(LIBRARIES) == list(report_card.KNOWN)


def test_the_exit_status_says_whether_anything_could_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(LIBRARIES, "optax", Library("optax", "no-such-distribution", list))
    assert main(["report-card", "--optimizers", "optax", "--html", str(tmp_path / "card.html")]) == 2
    assert "not run: not installed" in capsys.readouterr().out
    assert (tmp_path / "card.html").exists()
    monkeypatch.setattr(report_card, "NEEDS", ("no_such_module",))
    assert main(["report-card"]) == 2
    assert "needs no_such_module: python -m pip install 'hina_func[testing]'" in capsys.readouterr().err


def serve(connection: Connection, effort: Effort) -> None:
    """In place of the real one: it hangs on one law, dies on another and answers the third."""
    connection.send("ready")
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        if isinstance(asked, str):
            connection.send([worker.Task(asked, "It()", law, "by being") for law in ("hangs", "dies", "answers")])
        elif asked.law == "hangs":
            time.sleep(600)
        elif asked.law == "dies":
            os._exit(3)
        else:
            connection.send(Cell(*asked[:3], "", "holds", asked.source, examples=1))


def test_a_cell_that_hangs_or_dies_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "serve", serve)
    monkeypatch.setattr(runner, "GRACE", 0.5)
    monkeypatch.setattr(runner, "_cores", lambda: 1)
    told = []
    cells, missing = runner.run(["torch"], Effort(1, 1, 0.0), lambda *progress: told.append(progress))
    assert [(x.law, x.verdict, x.remark) for x in cells] == [
        ("hangs", "timed out", "given up after 0.5 seconds"),
        ("dies", "timed out", "the process that asked ended with code 3"),
        ("answers", "holds", ""),
    ]
    assert missing == {}
    assert [done for done, *_ in told] == [1, 2, 3]
    shown = card(["torch"], cells, missing, "quick", 1.0)
    assert (summaries(shown)[0].timed_out, findings(shown)) == (2, [])


def test_a_library_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Any]:
        raise ImportError("libsomething.so is missing")

    monkeypatch.setitem(LIBRARIES, "optax", Library("optax", "torch", broken))
    worker._contestants.cache_clear()
    assert worker.roster("optax") == "importing it raised ImportError: libsomething.so is missing"


def test_the_bar_is_drawn_over_on_a_terminal_and_written_by_tenths_elsewhere() -> None:
    file, terminal = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True
    bars = table.Bar(file), table.Bar(terminal)
    for done in range(1, 31):
        for bar in bars:
            bar(done, 30, "torch SGD()")
    assert file.getvalue().count("\n") == 10
    assert file.getvalue().endswith("[####################] 30/30 cells, 0 s left\n")
    assert terminal.getvalue().count("\r") == 30
    assert terminal.getvalue().count("\n") == 1


DRIVER = """
<script>
const problems = [];
window.addEventListener("error", event => problems.push(event.message));
window.addEventListener("load", () => {
  const set = (id, value) => {
    by(id).value = value;
    by(id).dispatchEvent(new Event("input"));
    return by("shown").textContent;
  };
  const said = { all: by("shown").textContent };
  said.library = set("library", "hina_func"); set("library", "");
  said.law = set("law", "layout_independence");
  said.columns = heads.filter(head => !head.hidden).length;
  set("law", "");
  said.verdict = set("verdict", "timed out"); set("verdict", "");
  said.text = set("text", "fused"); by("reset").click(); said.reset = by("shown").textContent;
  document.querySelector(".matrix button.fails").click();
  said.detail = by("detail").open ? by("detail").textContent : "";
  by("detail").querySelector(".close").click();
  said.open = by("detail").open; said.problems = problems;
  document.body.replaceChildren(JSON.stringify(said));
});
</script></body>
"""


@pytest.mark.slow
def test_filters_and_details_work_in_a_browser(made: dict[str, Any], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium")
    driven = tmp_path / "card.html"
    driven.write_text(page(made).replace("</body>", DRIVER), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'new'}"]
    asked = [browser, *options, "--virtual-time-budget=2000", "--dump-dom", driven.as_uri()]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert found is not None
    said = json.loads(found.group(1))
    number = len(findings(made))
    assert said["all"] == said["reset"] == f"3 optimizers, {number} findings"
    assert said["library"] == f"2 optimizers, {len([x for x in findings(made) if x.library == 'hina_func'])} findings"
    assert (said["law"], said["columns"]) == ("3 optimizers, 1 findings", 2)
    assert said["verdict"] == "0 optimizers, 0 findings"
    assert said["text"].startswith("1 optimizers, ")
    assert "Promised by being an optimizer" in said["detail"]
    assert (said["open"], said["problems"]) == (False, [])


DOCS = Path(__file__).parent.parent / "docs"


def test_the_published_table_is_that_of_the_published_page() -> None:
    text = (DOCS / "_static/report-card.html").read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="card">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    published = json.loads(data.group(1))
    rows = [tuple(str(x) for x in s[:-1]) for s in summaries(published)]
    page_text = (DOCS / "report-card.md").read_text(encoding="utf-8")
    told = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page_text.splitlines()]
    assert [row for row in told if row in rows] == rows
    assert f"profile {published['made']['profile']}" in page_text
    assert all(published["made"][name] in page_text for name in ("torch", "hypothesis", "python"))
    assert Outline(text).loads == []
