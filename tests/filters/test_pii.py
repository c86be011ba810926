import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from cases import measured
from rows import calling, record, scripted

from synth.filters.maths import Maths
from synth.filters.pii import PII
from synth.prompts import Prompts
from synth.steps import Filter, build, checked
from synth.types import Message, Record, ToolCall, Verdict
from synth.units import Steps, filtered

MASK = PII(action="mask")


def finished(row: Record, folder: Path, *filters: Filter) -> Record:
    """The row after these filters, as the engine runs them."""
    teacher, _ = scripted(folder, lambda text: "")
    return asyncio.run(filtered(row, Steps(filters, [], Prompts(folder), teacher, teacher)))


def test_precision_and_recall_on_the_labelled_rows() -> None:
    precision, recall, wrong = measured("pii")
    assert precision >= 0.97, wrong
    assert recall >= 0.97, wrong


def test_the_reason_names_the_kinds_and_the_score_counts_the_places() -> None:
    row = record("Mail ines.carvalho84@correio-azul.pt or eva@correio-azul.pt.", question="Tel: 646.555.3972")
    assert PII().check(row) == Verdict("pii", False, 3, "holds e-mail, phone")
    assert MASK.check(row) == Verdict("pii", True, 3, "masked e-mail, phone")
    assert PII().check(record("Nothing here.")) == Verdict("pii", True, 0)


def test_only_the_kinds_asked_for_are_looked_for() -> None:
    row = record("Call +44 20 7183 4426 from 84.17.203.66.")
    assert PII(kinds=("ip",)).check(row).reason == "holds ip"
    assert PII(kinds=("e-mail", "card")).check(row).keep


def test_an_unknown_kind_or_none_is_refused() -> None:
    with pytest.raises(ValueError, match="kinds"):
        build("filter", {"use": "pii", "kinds": ["name"]})
    with pytest.raises(ValueError, match="kinds"):
        build("filter", {"use": "pii", "kinds": []})


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Mail petar_dimov@zeleni-vrt.hr.", "Mail [EMAIL]."),
        ("Call (312) 555-7841 or +1 (503) 555-2847 now", "Call [PHONE] or [PHONE] now"),
        ("ssh root@84.17.203.66", "ssh root@[IP]"),
        ("from 84.17.203.66 to 10.0.0.1", "from [IP] to 10.0.0.1"),
        ("card 5424182736459010, exp 08/29", "card [CARD], exp 08/29"),
        ("to DE16 5005 0201 1234 9876 54 by Monday", "to [IBAN] by Monday"),
        ("SSN: 531-47-8206", "SSN: [SSN]"),
        ("DNI 48273915C", "DNI [ID]"),
        ("It is CRSFRC31H60M301W.", "It is [ID]."),
        ("tel. 437-586-5797 x543", "tel. [PHONE]"),
        ("(1-888-628-9454)", "([PHONE])"),
        ("call (08)42772021", "call [PHONE]"),
        ("Contact: 13778716177", "Contact: [PHONE]"),
        ("password in ftp://ann:pw@files.heron.org", "password in ftp://ann:pw@files.heron.org"),
        ("nothing", "nothing"),
    ],
)
def test_what_is_masked_and_what_stands_around_it_stays(text: str, masked: str) -> None:
    row = MASK.revised(record(text))
    assert row.answer == masked
    assert MASK.check(row) == Verdict("pii", True, 0)


@pytest.mark.parametrize(
    "text",
    [
        "1839727050 + 3280595837 = 5120322887",
        "phone: 01632 960797 or 0113 496 0168",
        "ZIP 05651-6530, EIN 04-2043966, EAN 4181667605756",
        "Mozilla/5.0 (X11; Linux x86_64; rv:1.9.0.20) Gecko/2010",
        "cuDNN <= 9.10.2.21 and torch==2.13.0.1",
        "years is 2006 -- 08 2004 2002",
        "the column a@b and the grade 4.0@5.0",
    ],
)
def test_what_only_looks_like_it_is_kept(text: str) -> None:
    assert PII().check(record(text)) == Verdict("pii", True, 0)


def test_every_turn_is_masked_and_what_calls_are_given() -> None:
    call: ToolCall = {
        "id": "a1",
        "type": "function",
        "function": {
            "name": "pay",
            "arguments": {
                "card": 5424182736459010,
                "to": [{"mail": "eva@correio-azul.pt"}],
                "days": 3,
                "now": True,
            },
        },
    }
    turns: list[Message] = [
        {"role": "system", "content": "You serve eva@correio-azul.pt."},
        {"role": "user", "content": "Pay."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "paid by 5424 1827 3645 9010", "name": "pay", "tool_call_id": "a1"},
        {"role": "assistant", "content": "Done."},
    ]
    row = Record(messages=turns, seed_id="seed")
    assert MASK.check(row) == Verdict("pii", True, 4, "masked card, e-mail")
    masked = MASK.revised(row)
    assert [turn["content"] for turn in masked.messages] == [
        "You serve [EMAIL].",
        "Pay.",
        "",
        "paid by [CARD]",
        "Done.",
    ]
    [given] = masked.messages[2]["tool_calls"]
    assert given["function"]["arguments"] == {
        "card": "[CARD]",
        "to": [{"mail": "[EMAIL]"}],
        "days": 3,
        "now": True,
    }
    assert call["function"]["arguments"]["card"] == 5424182736459010


def test_the_rejected_answer_of_a_pair_is_masked_and_other_fields_stay() -> None:
    other = [{"role": "assistant", "content": "Mail eva@correio-azul.pt"}]
    row = replace(record("Ask her."), fields={"rejected": other, "answer": "eva@correio-azul.pt"})
    assert PII().check(row) == Verdict("pii", False, 1, "holds e-mail")
    assert MASK.revised(row).fields == {
        "rejected": [{"role": "assistant", "content": "Mail [EMAIL]"}],
        "answer": "eva@correio-azul.pt",
    }


def test_a_row_without_a_place_is_not_changed() -> None:
    assert MASK.revised(calling()) == calling()
    assert PII().revised(record("eva@correio-azul.pt")).answer == "eva@correio-azul.pt"


class Ends(Filter):
    """Keeps what ends with a mask."""

    def check(self, record: Record) -> Verdict:
        return Verdict(self.name, record.answer.endswith("]"))


def test_later_filters_and_the_stored_row_see_the_masked_text(tmp_path: Path) -> None:
    row = finished(record("Mail eva@correio-azul.pt"), tmp_path, MASK, Ends())
    assert row.status == "kept"
    assert row.answer == "Mail [EMAIL]"
    assert [verdict.reason for verdict in row.verdicts] == ["masked e-mail", ""]
    before = finished(record("Mail eva@correio-azul.pt"), tmp_path, Ends(), MASK)
    assert before.status == "rejected"
    assert before.answer == "Mail eva@correio-azul.pt"


def test_a_strategys_verifiers_only_check() -> None:
    row = replace(record("eva@correio-azul.pt comes to 7"), fields={"answer": "7"})
    said = asyncio.run(checked(row, [MASK, Maths()]))
    assert [verdict.keep for verdict in said] == [True, True]
