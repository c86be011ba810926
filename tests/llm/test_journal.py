import os
from pathlib import Path

import pytest

from synth.llm.journal import FILE, Journal
from synth.types import Reply


def reply(key: str, text: str = "said") -> Reply:
    return Reply(text, "stop", 3, 4, "model", key, ({"a": -0.5, "b": -1.5},))


def test_a_reply_comes_back_as_it_was_put(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(reply("one", 'quotes " and \n lines, ü'))
    assert journal.get("one") == reply("one", 'quotes " and \n lines, ü')
    assert journal.get("two") is None
    assert "one" in journal and "two" not in journal and len(journal) == 1
    journal.close()


def test_replies_survive_reopening_at_the_offsets_where_they_stand(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(20):
        journal.put(reply(f"key{number}", "x" * number))
    journal.close()
    again = Journal(tmp_path)
    again.put(reply("late", "after the others"))
    assert [again.get(f"key{n}") for n in range(20)] == [reply(f"key{n}", "x" * n) for n in range(20)]
    assert again.get("late") == reply("late", "after the others")
    assert again.torn == 0
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_dropped_counted_and_written_over(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path)
    journal.put(reply("whole"))
    journal.put(reply("torn"))
    journal.close()
    os.truncate(tmp_path / FILE, (tmp_path / FILE).stat().st_size - cut)
    again = Journal(tmp_path)
    assert again.torn == 1
    assert again.get("whole") == reply("whole")
    assert again.get("torn") is None
    again.put(reply("torn", "asked anew"))
    again.close()
    third = Journal(tmp_path)
    assert third.torn == 0 and third.get("torn") == reply("torn", "asked anew")
    third.close()


def test_a_corrupt_line_in_the_middle_costs_that_reply_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for key in ("first", "middle", "last"):
        journal.put(reply(key))
    journal.close()
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes().replace(b"middle", b"muddle"))
    again = Journal(tmp_path)
    assert again.torn == 1
    assert again.get("middle") is None and again.get("muddle") is None
    assert again.get("first") == reply("first") and again.get("last") == reply("last")
    again.put(reply("middle"))
    assert again.get("middle") == reply("middle")
    again.close()


def test_a_reply_of_an_earlier_run_is_copied_so_that_the_folder_is_whole_by_itself(tmp_path: Path) -> None:
    earlier = Journal(tmp_path / "earlier")
    earlier.put(reply("known"))
    earlier.put(reply("never asked again"))
    earlier.close()
    before = (tmp_path / "earlier" / FILE).read_bytes()

    journal = Journal(tmp_path / "new", [tmp_path / "earlier", tmp_path / "not there"])
    assert len(journal) == 0
    assert journal.get("known") == journal.get("known") == reply("known")
    assert len(journal) == 1
    journal.close()

    alone = Journal(tmp_path / "new")
    assert alone.get("known") == reply("known")
    assert alone.get("never asked again") is None
    assert (tmp_path / "new" / FILE).read_bytes().count(b"\n") == 1
    assert (tmp_path / "earlier" / FILE).read_bytes() == before
    alone.close()


def test_a_torn_line_of_an_earlier_run_is_left_as_it_is(tmp_path: Path) -> None:
    earlier = Journal(tmp_path / "earlier")
    earlier.put(reply("known"))
    earlier.close()
    with (tmp_path / "earlier" / FILE).open("ab") as file:
        file.write(b"0123abcd {half")
    size = (tmp_path / "earlier" / FILE).stat().st_size
    journal = Journal(tmp_path / "new", [tmp_path / "earlier"])
    assert journal.get("known") == reply("known")
    assert (tmp_path / "earlier" / FILE).stat().st_size == size
    journal.close()
