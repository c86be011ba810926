"""Decontamination: which rows go, by which rule, and what is said of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rows import Held, record

from synth.compute.contamination import matches
from synth.compute.rephrased import Rephrased
from synth.errors import DataError
from synth.prompts import Prompts
from synth.selectors.decontaminate import Decontaminate
from synth.steps import Question, Selection
from synth.store import to_table

ROOT = Path(__file__).parent.parent.parent
BOATS = (
    "A harbour rents out 14 rowing boats and 9 sailing boats. A rowing boat costs 6 euros an hour, a sailing "
    "boat 25 euros. How much does the harbour take in an hour when all of them are out?"
)
OTHER_WORDS = (
    "There are 14 rowing boats and 9 sailing boats for hire at a harbour. An hour in a rowing boat is 6 "
    "euros and in a sailing boat 25 euros. If every boat is out, what does the harbour earn in one hour?"
)
OTHER_NUMBERS = (
    "A baker sells 31 rolls and 8 loaves in the morning. A roll costs 2 euros and a loaf 4 euros. How much "
    "does the baker take in the morning?"
)
SHORT = "Name the capital of Mongolia."
PROGRAM = '''def total(xs: list[int], cap: int) -> int:
    """Add up numbers below cap.
    >>> total([4, 9], 8)
    4
    """
    out = 0
    for x in xs:
        if x < cap:
            out += x
    return out
'''
ITEMS = (
    BOATS,
    SHORT,
    "Hello!",
    "Explain to a child why the leaves of some trees turn red in autumn before they fall.",
    "Write a poem of three lines about a clock that nobody winds up any more.",
    "Which of the planets has the most moons, and how many of them are known by name?",
)


def questions(texts: Sequence[str] = ITEMS) -> list[Question]:
    return [Question(f"q{n}", [{"role": "user", "content": text}]) for n, text in enumerate(texts)]


def said(
    folder: Path,
    texts: Sequence[str],
    step: Decontaminate | None = None,
    answer: Callable[[str], str] | None = None,
    items: Sequence[Question] | None = None,
) -> list[Selection]:
    chosen = step or Decontaminate()
    table = to_table([replace(record("Fine.", question=t), id=f"{n:04d}") for n, t in enumerate(texts)])
    rows = Held(table, chosen.columns, folder, answer, prompts=Prompts(ROOT))
    rows.questions = questions() if items is None else items
    rows.digest = str(sorted(texts))
    return list(chosen.select(rows))


def reasons(selections: Sequence[Selection]) -> list[str]:
    return [selection.verdict.reason for selection in selections]


def test_an_exact_copy_goes_and_names_the_item_whatever_its_case_and_punctuation(tmp_path: Path) -> None:
    [first, second, third] = said(tmp_path, [BOATS, BOATS.upper().replace(".", " -"), OTHER_NUMBERS])
    for copy in (first, second):
        assert copy.verdict == replace(copy.verdict, keep=False, score=1.0)
        assert copy.verdict.reason == "an evaluation item, word for word"
        assert copy.duplicate_of == "q0"
    assert third.verdict.keep and third.duplicate_of is None and third.verdict.score is None


def test_an_item_within_a_longer_row_is_found_and_a_greeting_only_where_it_is_all(tmp_path: Path) -> None:
    within = f"Please help me with my homework. {BOATS} Thanks a lot!"
    short = "I forgot it all. Name the capital of Mongolia, please, and of Peru."
    found = said(tmp_path, [within, short, "Hello! What is the time in Lima?", "hello"])
    assert [selection.duplicate_of for selection in found] == ["q0", "q1", None, "q2"]


def test_thirteen_words_in_a_row_are_too_many_and_twelve_are_not(tmp_path: Path) -> None:
    words = BOATS.split()
    step = Decontaminate(rules=("run",))
    tales = [f"A tale began so: {' '.join(words[2 : 2 + n])} then it rained." for n in (12, 13)]
    assert reasons(said(tmp_path, tales, step)) == ["", "13 words in a row of an evaluation item"]


def test_cover_counts_the_words_of_the_item_that_lie_in_shared_runs_of_eight(tmp_path: Path) -> None:
    words = BOATS.split()
    step = Decontaminate(rules=("cover",), cover=0.5)
    half = [" ".join(words[:at]) for at in (len(words) // 2, len(words) // 2 + 1)]
    [below, above] = said(tmp_path, half, step)
    assert below.verdict.keep
    assert above.verdict.reason == "more than 50% of an evaluation item, in runs of 8 words"
    assert above.verdict.score == pytest.approx((len(words) // 2 + 1) / len(words))
    scattered = " and ".join(" ".join(words[at : at + 7]) for at in range(0, len(words), 7))
    assert said(tmp_path, [scattered], step)[0].verdict.keep


def test_other_words_for_the_same_task_are_found_and_another_task_is_kept(tmp_path: Path) -> None:
    [same, other] = said(tmp_path, [OTHER_WORDS, OTHER_NUMBERS])
    assert same.verdict.reason == "rephrases an evaluation item" and same.duplicate_of == "q0"
    assert same.verdict.score is not None and 0.5 <= same.verdict.score < 1
    assert other.verdict.keep


def test_a_program_with_other_names_is_found_and_another_program_is_kept(tmp_path: Path) -> None:
    same = PROGRAM
    for name, new in {"total": "sum_small", "xs": "values", "cap": "limit", "out": "acc"}.items():
        same = same.replace(name, new)
    other = 'def greet(who: str) -> str:\n    """Say hello to somebody."""\n    return f"Hello, {who}!"\n'
    items = [*questions(), Question("code", [{"role": "user", "content": PROGRAM}])]
    found = said(tmp_path, [same, other], Decontaminate(rules=("rephrased",)), items=items)
    assert [selection.duplicate_of for selection in found] == ["code", None]


def test_rules_can_be_left_out(tmp_path: Path) -> None:
    assert said(tmp_path, [OTHER_WORDS], Decontaminate(rules=("exact", "run", "cover")))[0].verdict.keep


def test_the_judge_decides_what_is_likely_and_sees_both_texts(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(prompt: str) -> str:
        seen.append(prompt)
        return "No."

    step = Decontaminate(judge=True, likeness=0.1)
    found = said(tmp_path, [OTHER_WORDS, BOATS], step, answer)
    assert reasons(found) == ["", "an evaluation item, word for word"]
    assert len(seen) == 1 and OTHER_WORDS in seen[0] and BOATS in seen[0]
    assert reasons(said(tmp_path, [OTHER_WORDS], step, lambda _: "yes")) == [
        "rephrases an evaluation item, says the judge"
    ]
    assert reasons(said(tmp_path, [OTHER_WORDS], step, lambda _: "Perhaps")) == [
        "neither yes nor no in the judge's reply"
    ]


def test_rules_change_without_looking_again_and_the_pairs_can_be_read(tmp_path: Path) -> None:
    texts = [OTHER_WORDS, BOATS, OTHER_NUMBERS]
    first = said(tmp_path, texts)
    [stored] = tmp_path.iterdir()
    before = stored.stat().st_mtime_ns
    assert reasons(said(tmp_path, texts, Decontaminate(rules=("exact",))))[0] == ""
    assert stored.stat().st_mtime_ns == before
    removed = {f"{n:04d}": s.duplicate_of for n, s in enumerate(first) if s.duplicate_of is not None}
    lines = matches(tmp_path, removed).to_pylist()
    assert [(line["id"], line["rule"]) for line in lines if line["rule"] in ("exact", "rephrased")] == [
        ("0000", "rephrased"),
        ("0001", "exact"),
        ("0001", "rephrased"),
    ]
    assert lines[0]["row"] == OTHER_WORDS and lines[0]["text"] == BOATS


def test_items_are_read_from_files_of_many_kinds_of_fields(tmp_path: Path) -> None:
    file = tmp_path / "exams" / "old.jsonl"
    file.parent.mkdir()
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SHORT}]
    lines = [{"prompt": BOATS, "answer": "309"}, {"messages": turns}]
    file.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    step = Decontaminate(against=(str(file),))
    found = said(tmp_path / "index", [BOATS, SHORT], step, items=[])
    assert [selection.duplicate_of for selection in found] == ["exams/old.jsonl:1", "exams/old.jsonl:2"]
    before = step.versions()
    file.write_bytes(orjson.dumps(lines[0]))
    assert step.versions() != before


@pytest.mark.parametrize(
    ("line", "field", "mend"),
    [
        (b'{"body": "x"}', None, "name its text's `field`"),
        (b'{"body": "x"}', "boddy", 'did you mean "body"'),
        (b"", None, "has no evaluation items"),
    ],
)
def test_what_holds_no_items_is_refused(tmp_path: Path, line: bytes, field: str | None, mend: str) -> None:
    file = tmp_path / "items.jsonl"
    file.write_bytes(line)
    with pytest.raises(DataError, match=r"items\.jsonl") as caught:
        said(tmp_path, [BOATS], Decontaminate(against=(str(file),), field=field))
    assert mend in str(caught.value)


def test_without_items_every_row_is_kept(tmp_path: Path) -> None:
    assert [s.verdict.keep for s in said(tmp_path, [BOATS, SHORT], items=[])] == [True, True]


def test_signs_of_chinese_count_as_words(tmp_path: Path) -> None:
    item = "\u6e2f\u53e3\u51fa\u79df\u5341\u56db\u8258\u5212\u8247\u548c\u4e5d\u8258\u5e06\u8239"
    [found] = said(tmp_path, [f"\u8bf7\u95ee{item}\uff1f"], items=questions([item]))
    assert found.duplicate_of == "q0" and found.verdict.reason == "an evaluation item, word for word"


def test_short_questions_that_share_only_their_form_are_not_alike(tmp_path: Path) -> None:
    known = ["What do bears do all winter?", "What does a conductor do?", "How do lighthouses help ships?"]
    asked = ["What did a lighthouse keeper do all night?", "What does the conductor of an orchestra do?"]
    found = {row: (item, likeness) for row, item, likeness in Rephrased(known).find(asked)}
    assert found.get(0, (0, 0.0))[1] < 0.5
    assert found[1][0] == 1 and found[1][1] >= 0.5
