"""`report.html`: what it counts, what it shows, and that whatever a model wrote stays text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from projects import make_project, synth_each
from test_quality import KEPT, ROWS, dataset_of, row

from synth import page
from synth.errors import DataError
from synth.recipe import Recipe, load_recipe
from synth.store import Dataset
from synth.types import Record, Verdict

VOID = {"meta", "br", "rect", "line"}


class Read(HTMLParser):
    """The tags and the text of a page; every tag that is opened must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += f" {data}"


@pytest.fixture
def loaded(tmp_path: Path) -> Recipe:
    return load_recipe(make_project(tmp_path / "project", "http://127.0.0.1:9/v1"))


def read(folder: Path, loaded: Recipe, records: list[Record]) -> Read:
    return Read(page.render(dataset_of(folder / "run", records), loaded))


def test_the_counts_reconcile_and_each_reason_is_counted(tmp_path: Path, loaded: Recipe) -> None:
    failed = replace(
        ROWS[5], id="0009", status="failed", verdicts=[Verdict("template", False, None, "status 500")]
    )
    text = read(tmp_path, loaded, [*ROWS, failed]).text
    assert "7 planned = 2 kept + 4 rejected + 1 failed" in text
    rows = re.findall(r"(?:kept|rejected|failed) (?:\w+ [a-z0-9 ]+? )?(\d+) \d+\.\d%", text)
    assert sum(map(int, rows)) == 7 and len(rows) == 6
    assert "rejected length too short 1 14.3%" in text and "failed template status 500 1 14.3%" in text
    assert "planned 7 made 5 after filters 4 after judges 3 after exact 2" in text


def test_a_rejected_row_is_shown_with_its_scores_and_the_row_that_it_repeats(
    tmp_path: Path, loaded: Recipe
) -> None:
    repeat = replace(ROWS[2], duplicate_of=ROWS[1].id)
    text = read(tmp_path, loaded, [*ROWS[:2], repeat, *ROWS[3:]]).text
    assert "repeats 0001 : Be kind. Write a poem about a hill." in text
    assert "rubric: rejected, score 1, scored too low" in text
    assert "Nothing was made." in text


def test_of_each_reason_two_rows_are_shown_and_of_long_texts_the_start(
    tmp_path: Path, loaded: Recipe
) -> None:
    low = Verdict("rubric", False, 1.0, "scored too low")
    rows = [row(n, f"Question {n}? " + "x" * 5000, *KEPT[:2], low) for n in range(9)]
    html = page.render(dataset_of(tmp_path / "run", rows), loaded)
    assert html.count('<div class="row">') == 2 and "(9 rejected)" in Read(html).text
    assert "Question 0?" in html and "Question 1?" in html and "Question 2?" not in html
    assert "(4,412 more characters)" in html and len(html) < 20_000


def test_what_a_model_wrote_is_text_and_no_markup(tmp_path: Path, loaded: Recipe) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    bad = Verdict("length", False, None, evil)
    rows = [row(0, evil, Verdict("truncated", True), bad, answer=evil), row(1, f"Write {evil}", *KEPT)]
    rows.append(replace(rows[0], id=evil, strategy=evil, messages=()))
    found = read(tmp_path, loaded.model_copy(update={"text": f"# {evil}"}), rows)
    assert not {"script", "img"} & {tag for tag, _ in found.tags}
    assert found.text.count(evil) >= 6


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(tmp_path: Path, loaded: Recipe) -> None:
    found = read(tmp_path, loaded, ROWS)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert not {"src", "href", "onclick"} & {name for _, attrs in found.tags for name in attrs}
    assert ("html", {"lang": "en"}) in found.tags
    assert all(attrs.get("aria-label") for tag, attrs in found.tags if tag == "svg")


def test_a_run_that_made_nothing_has_a_page(tmp_path: Path, loaded: Recipe) -> None:
    text = read(tmp_path, loaded, [ROWS[5]]).text
    assert "1 planned = 0 kept + 1 rejected + 0 failed" in text and "made 0 after filters 0" in text


def test_scores_stand_there_with_their_intervals_and_gains(tmp_path: Path, loaded: Recipe) -> None:
    dataset = dataset_of(tmp_path / "run", ROWS)
    systems = {
        "base": {"mean": 0.1, "low": 0.05, "high": 0.2},
        "student": {"mean": 0.6, "low": 0.5, "high": 0.7},
    }
    gain = {"difference": 0.5, "low": 0.4, "high": 0.6, "wins": 55, "losses": 5, "p": 1e-9}
    total = {"evaluator": "exact_match", "group": "", "questions": 100, "systems": systems}
    scores = {"evaluations": [{**total, "student_minus_base": gain}]}
    (dataset.folder / "scores.json").write_text(json.dumps(scores))
    dataset.record("evaluate", {"inputs": "x"}, [])
    text = Read(page.render(dataset, loaded)).text
    assert "exact_match, 100 held-out questions base 10.0% [5.0%, 20.0%] student 60.0% [50.0%, 70.0%]" in text
    assert "student - base: +50.0 points [+40.0, +60.0], 55 better, 5 worse, exact McNemar p = 1e-09" in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, loaded: Recipe) -> None:
    dataset = dataset_of(tmp_path / "run", ROWS)
    first = page.write(dataset, loaded).read_bytes()
    (dataset.folder / "quality.json").unlink()
    assert page.write(dataset, loaded).read_bytes() == first


def test_without_rows_the_page_says_what_to_do(tmp_path: Path, loaded: Recipe) -> None:
    with pytest.raises(DataError, match="run `synth generate` first"):
        page.write(Dataset(tmp_path / "run"), loaded)


def test_the_commands_write_both_files_of_a_real_run(recipe: Path) -> None:
    root = recipe.parent
    verbs = ["generate", "curate", "quality", "report"]
    done = synth_each([(root, [verb, "recipe.toml"]) for verb in verbs])
    assert [result.returncode for result in done] == [0] * 4, done
    [folder] = (root / "data" / "runs").glob("small-*")
    assert "after exact" in done[2].stdout and "leading verb and object" in done[2].stdout
    assert done[3].stdout == f"report: data/runs/{folder.name}/report.html\n"
    text = Read((folder / "report.html").read_text(encoding="utf-8")).text
    counts = Dataset(folder).counts()
    assert f"40 planned = {counts.of('kept')} kept + {counts.of('rejected')} rejected + 0 failed" in text
    assert f"made 40 after filters {40 - counts.by_step('rejected')['length']} after judges" in text
    assert (folder / "quality.json").is_file()
    assert str(root) not in text.replace(recipe.read_text(), "")
