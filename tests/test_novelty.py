import json
import random
from pathlib import Path

import orjson
import pytest
from rouge_score import rouge_scorer
from rows import record

from synth.errors import DataError, Repeated
from synth.novelty import Index, Novelty, asked, words

WORDS = [
    "the",
    "a",
    "bread",
    "rye",
    "oven",
    "bake",
    "how",
    "do",
    "you",
    "when",
    "is",
    "it",
    "long",
    "warm",
    "of",
]
ROUGE = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)


def texts(number: int, seed: int) -> list[str]:
    """Sentences of few different words, so that many of them are near one another."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(number)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.71, 0.9])
def test_the_index_finds_what_comparing_with_every_text_finds(threshold: float) -> None:
    index, compared = Index(threshold), 0
    for text in texts(250, 1):
        scores = [ROUGE.score(other, text)["rougeL"].fmeasure for other in index.texts]
        best = max(scores, default=0.0)
        found = index.nearest(text)
        if abs(best - threshold) < 1e-9:
            continue
        assert (found is not None) is (best > threshold)
        if found is not None:
            assert found[1] == pytest.approx(best) == pytest.approx(scores[found[0]])
            compared += 1
        index.add(text)
    assert compared > 5


def test_case_marks_and_line_ends_make_no_difference_and_other_scripts_have_words() -> None:
    index = Index(0.7)
    index.add("How long do you bake rye bread?")
    assert index.nearest("HOW LONG do you -- bake\nrye_bread") == (0, 1.0)
    assert index.nearest("How warm is the sea in June?") is None
    assert words("面包 烤多久?") == ["面", "包", "烤", "多", "久"]
    index.add("面包要烤多久?")
    assert index.nearest("面包需要烤多久?") is not None
    index.add("Wie lange bäckt man Brot?")
    assert index.nearest("Wie lange bäckt man ein Brot?") is not None
    assert index.nearest("?!") is None and len(index) == 3


def test_what_is_decided_holds_in_every_rerun_whatever_the_order(tmp_path: Path) -> None:
    first, second = "How long do you bake bread?", "How long do you bake rye bread?"
    with Novelty(tmp_path / "run", 0.7) as novelty:
        assert novelty.repeats("unit 1", second) is None
        why = novelty.repeats("unit 0", first)
        assert isinstance(why, Repeated) and (why.earlier, why.run) == (second, "run")
        assert why.rouge_l == pytest.approx(2 * 6 / 13)
        drawn = novelty.earlier("unit 2", 1)
        assert drawn == [second]
    log = (tmp_path / "run" / "novelty.jsonl").read_bytes()
    with Novelty(tmp_path / "run", 0.7) as again:
        assert again.repeats("unit 2", "Something else entirely happens.") is None
        again_why = again.repeats("unit 0", first)
        assert again_why is not None and again_why.rouge_l == why.rouge_l
        assert again.repeats("unit 1", second) is None
        assert again.earlier("unit 2", 1) == drawn
        assert again.repeats("unit 3", first) is not None
    assert (tmp_path / "run" / "novelty.jsonl").read_bytes().startswith(log)


def test_a_line_that_a_crash_tore_is_dropped_and_the_file_goes_on(tmp_path: Path) -> None:
    with Novelty(tmp_path / "run", 0.7) as novelty:
        novelty.repeats("a", "How long do you bake bread?")
    path = tmp_path / "run" / "novelty.jsonl"
    path.write_bytes(path.read_bytes() + b'{"key": "to')
    with Novelty(tmp_path / "run", 0.7) as again:
        assert again.repeats("b", "How long do you bake bread?") is not None
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()][1]["text"]
    path.write_bytes(path.read_bytes().replace(b'{"key"', b"key", 1))
    with pytest.raises(DataError, match=r"novelty\.jsonl:2: is no JSON"), Novelty(tmp_path / "run", 0.7):
        pass


def test_runs_share_the_questions_of_kept_rows_and_are_not_changed_by_later_ones(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "asked.jsonl"
    kept = [record("yes", question=text) for text in ("How long do you bake bread?", "Is salt cold?")]
    with Novelty(tmp_path / "monday", 0.7, shared) as monday:
        assert monday.repeats("a", "How long do you bake bread?") is None
        assert monday.share(kept) == 2
        assert monday.share(kept) == 0
    with Novelty(tmp_path / "tuesday", 0.7, shared) as tuesday:
        why = tuesday.repeats("a", "How long do you bake rye bread?")
        assert why is not None and why.run == "monday"
        assert tuesday.repeats("b", "What is a lighthouse for?") is None
        assert tuesday.earlier("c", 9) == ["What is a lighthouse for?"]
        tuesday.share([record("a light", question="What is a lighthouse for?")])
    with Novelty(tmp_path / "monday", 0.7, shared) as again:
        assert again.repeats("d", "What is a lighthouse for?") is None
    lines = [json.loads(line) for line in shared.read_text().splitlines()]
    assert [line["run"] for line in lines] == ["monday", "monday", "tuesday"]


def test_an_index_that_cannot_be_written_is_an_error_with_the_mend(tmp_path: Path) -> None:
    with (
        Novelty(tmp_path / "run", 0.7, tmp_path) as novelty,
        pytest.raises(DataError, match="can't be written"),
    ):
        novelty.share([record("yes")])


def test_a_record_asks_its_question_or_its_last_user_turn() -> None:
    from dataclasses import replace

    row = record("yes", question="Why?")
    assert asked(row) == "Why?"
    assert asked(replace(row, fields={"question": "What for?"})) == "What for?"
