from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rows import record, selected

from synth.errors import RecipeError
from synth.selectors.balance import Balance
from synth.types import JSON, Record, Verdict


def rows(sizes: dict[str, int], key: str = "topic") -> list[Record]:
    return [
        replace(
            record("Yes."), strategy=name, fields={key: name}, id=f"{name}{n:03d}", seed_id=f"{name}{n % 2}"
        )
        for name, size in sizes.items()
        for n in range(size)
    ]


def kept(step: Balance, given: Sequence[Record], folder: Path = Path("none")) -> list[Record]:
    said = selected(step, given, folder)
    assert {each.verdict.reason for each in said} <= {"", "beyond the cap of its group"}
    in_order = sorted(given, key=lambda row: row.id)
    return [row for row, each in zip(in_order, said, strict=True) if each.verdict.keep]


def test_a_group_has_at_most_so_many_rows() -> None:
    given = rows({"a": 9, "b": 2, "c": 5}, "subject")
    for field in ("subject", "strategy"):
        assert Counter(row.strategy for row in kept(Balance(field=field, most=4), given)) == {
            "a": 4,
            "b": 2,
            "c": 4,
        }
    assert len(kept(Balance(field="seed_id", most=1), given)) == 6


def test_the_share_holds_for_what_is_kept_and_one_row_more_would_break_it() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        sizes = {chr(97 + n): int(size) for n, size in enumerate(draw.integers(1, 60, draw.integers(5, 12)))}
        step = Balance(field="strategy", share=0.25)
        found = Counter(row.strategy for row in kept(step, rows(sizes)))
        cap = max(found.values())
        assert cap <= 0.25 * found.total()
        assert found == {name: min(size, cap) for name, size in sizes.items()}
        if cap < max(sizes.values()):
            assert cap + 1 > 0.25 * sum(min(size, cap + 1) for size in sizes.values())


def test_a_share_that_so_few_groups_cannot_have_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"select.share: 2 groups by strategy can't each be at most 0.4"):
        kept(Balance(field="strategy", share=0.4), rows({"a": 9, "b": 2}))


def test_the_best_of_a_group_stay() -> None:
    given = [replace(row, verdicts=(Verdict("rubric", True, n % 4),)) for n, row in enumerate(rows({"a": 8}))]
    found = kept(Balance(field="strategy", most=2, by="rubric"), given)
    assert [row.verdicts[0].score for row in found] == [3, 3]


def test_without_a_score_the_choice_is_not_the_first_rows_and_not_another_beside_other_rows() -> None:
    given = rows({"a": 40})
    found = {row.id for row in kept(Balance(field="strategy", most=10), given)}
    assert found != {row.id for row in given[:10]}
    beside = kept(Balance(field="strategy", most=10), [*rows({"0": 7}), *given[::2], *given[1::2]])
    assert found == {row.id for row in beside if row.strategy == "a"}


def test_rows_without_the_field_are_one_group_and_values_of_any_kind_are_groups() -> None:
    values: list[dict[str, JSON]] = [{"k": 1}, {"k": "1"}, {"k": [1]}, {"k": {"a": 1, "b": 2}}]
    values += [{"k": {"b": 2, "a": 1}}, {}, {"other": 1}, {"k": None}]
    given = [replace(record("Yes."), fields=each, id=str(n)) for n, each in enumerate(values)]
    assert len(kept(Balance(field="k", most=1), given)) == 6


def test_a_field_that_no_row_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r'no row has the field "topics"; name one of: language, model, '):
        kept(Balance(field="topics", most=1), rows({"a": 2}))


def test_languages_are_told_by_the_text() -> None:
    texts = ["Where is the station, please?", "Wo ist hier der Bahnhof, bitte?", "How old is the old bridge?"]
    texts += ["Wie alt ist denn die alte Br\u00fccke?", "Was kostet das Brot bei euch?", "车站在哪里?", ""]
    given = [record("Yes.", question=text) for text in texts]
    found = kept(Balance(field="language", most=1), given)
    assert len(found) in (3, 4)  # the text without a word has a language of its own, or one of these


def test_topics_are_clusters_of_the_texts(tmp_path: Path) -> None:
    plants = [
        f"Why are {kind} plants green in {when}?" for kind in ("most", "wild") for when in ("May", "June")
    ]
    maths = [f"What is the sum of {n} and {n + 1} apples and pears?" for n in range(6)]
    given = [record("Yes.", question=text) for text in (*plants, *maths)]
    step = Balance(field="topic", clusters=2, most=3)
    found = [row.question[:3] for row in kept(step, given, tmp_path)]
    assert Counter(found) == {"Why": 3, "Wha": 3}
    assert list(step.versions()) == ["embeddings.words"]
    assert Balance(field="strategy", most=1).versions() == {}


def test_no_rows_are_balanced() -> None:
    assert kept(Balance(field="subject", share=0.5), []) == []


@pytest.mark.parametrize("given", [{}, {"most": 3, "share": 0.5}])
def test_one_cap_is_needed(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="give most or share, and not both"):
        Balance(field="strategy", **given)
