import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from synth.errors import DataError
from synth.llm import journal as module
from synth.llm.journal import FILE, READ, Index, Journal, prune, stats
from synth.types import Reply


def reply(key: str, text: str = "said", *, seconds: float = 0.0) -> Reply:
    return Reply(text, "stop", 3, 4, "model", key, seconds=seconds)


def filled(folder: Path, *replies: Reply, step: str = "ask") -> None:
    journal = Journal(folder)
    for each in replies:
        journal.put(each, step)
    journal.close()


def test_the_index_finds_every_key_as_it_grows() -> None:
    numbers = random.Random(1)
    keys = [f"{numbers.getrandbits(128):032x}" for _ in range(20_000)]
    index = Index()
    for place, key in enumerate(keys):
        assert list(index.find(key)) == []
        index.add(key, place)
    assert all(list(index.find(key)) == [place] for place, key in enumerate(keys))
    assert not any(any(True for _ in index.find(f"{numbers.getrandbits(128):032x}")) for _ in range(1000))


def test_the_index_holds_keys_that_fall_into_one_slot_and_keys_of_zeros() -> None:
    index = Index()
    keys = [f"{n:08x}00000001{n:016x}" for n in range(1, 600)] + ["0" * 32, "f" * 32]
    for place, key in enumerate(keys):
        index.add(key, place)
    assert all(list(index.find(key)) == [place] for place, key in enumerate(keys))


def test_two_keys_with_the_same_first_half_are_both_found(tmp_path: Path) -> None:
    keys = ["0123456789abcdef" + tail * 16 for tail in "01f"]
    filled(tmp_path, *(reply(key, key) for key in keys[:2]))
    journal = Journal(tmp_path)
    assert [journal.get(key) for key in keys] == [reply(keys[0], keys[0]), reply(keys[1], keys[1]), None]
    assert keys[1] in journal and keys[2] not in journal
    journal.put(reply(keys[2], "third"))
    assert journal.get(keys[2]) == reply(keys[2], "third")
    journal.close()
    assert (stats(tmp_path).replies, stats(tmp_path).again) == (3, 0)
    prune(tmp_path)
    again = Journal(tmp_path)
    assert all(key in again for key in keys)
    again.close()


@pytest.mark.parametrize("length", [READ - 300, READ, READ + 1, 17 * READ, 70 * READ])
def test_a_line_longer_than_one_read_comes_back_whole(tmp_path: Path, length: int) -> None:
    text = "".join(random.Random(length).choices('abc \n"\\üあ', k=length))
    filled(tmp_path, reply("aa", "before"), reply("bb", text), reply("cc", "behind"))
    journal = Journal(tmp_path)
    assert journal.get("bb") == reply("bb", text)
    assert journal.get("cc") == reply("cc", "behind")
    journal.close()


def test_replies_of_earlier_runs_are_appended_once_and_marked(tmp_path: Path) -> None:
    filled(tmp_path / "one", reply("aa", "from one", seconds=2.0), reply("bb", "from one"))
    filled(tmp_path / "two", reply("bb", "from two"), reply("cc", "from two"))
    earlier = [tmp_path / "one", tmp_path / "two"]
    for _ in range(2):
        journal = Journal(tmp_path / "new", earlier)
        for _ in range(2):
            assert journal.get("aa") == reply("aa", "from one")
            assert journal.get("cc") == reply("cc", "from two")
        assert len(journal) == 2
        journal.close()
    lines = (tmp_path / "new" / FILE).read_bytes().splitlines()
    assert [json.loads(line[9:])["copied"] for line in lines] == [True, True]
    assert stats(tmp_path / "new").copied == 2
    journal = Journal(tmp_path / "new", earlier)
    assert not journal.paid
    journal.put(reply("dd"), "judge")
    assert journal.paid["judge"].replies == 1
    journal.close()


def test_stats_tell_what_each_step_of_a_model_was_answered(tmp_path: Path) -> None:
    filled(tmp_path, *(reply(f"a{n}", seconds=0.5) for n in range(3)))
    filled(tmp_path, reply("b"), reply("a1", "again"), step="judge")
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"0123abcd {half")
    seen = stats(tmp_path)
    assert (seen.replies, seen.again, seen.torn, seen.copied) == (4, 1, 1, 0)
    asked, judged = seen.by["model", "ask"], seen.by["model", "judge"]
    assert (asked.replies, asked.prompt_tokens, asked.completion_tokens) == (3, 9, 12)
    assert asked.request_seconds == 1.5 and judged.replies == 1
    with pytest.raises(DataError, match="is not there; name the folder of a run"):
        stats(tmp_path / "nothing")


def test_a_pruned_journal_is_smaller_and_answers_the_same(tmp_path: Path) -> None:
    filled(tmp_path, *(reply(f"{n:032x}", "first") for n in range(50)))
    filled(tmp_path, *(reply(f"{n:032x}", "again") for n in range(10)))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:30] + b"?" + whole[31:] + b"torn")
    before, after = prune(tmp_path)
    assert before > after == (tmp_path / FILE).stat().st_size
    assert (stats(tmp_path).replies, stats(tmp_path).again, stats(tmp_path).torn) == (50, 0, 0)
    journal = Journal(tmp_path)
    texts = [found.text for n in range(50) if (found := journal.get(f"{n:032x}"))]
    assert texts == ["again"] + ["first"] * 49  # the first line of the first key was spoilt
    journal.close()
    assert prune(tmp_path) == (after, after)
    with pytest.raises(DataError, match="is not there"):
        prune(tmp_path / "nothing")


FULL = """
import resource, signal, sys
from pathlib import Path
from synth.errors import DataError
from synth.llm.journal import Journal, prune
from synth.types import Reply

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
folder = Path(sys.argv[1])
try:
    if sys.argv[3] == "prune":
        prune(folder)
    journal = Journal(folder)
    for number in range(100):
        key = f"{number:032x}"
        if key not in journal:
            journal.put(Reply("x" * number, "stop", 1, 2, "model", key), "ask")
    journal.close()
except DataError as error:
    print(f"{error.exit_code} {error}")
"""


def on_a_disk_of(room: int, folder: Path, work: str = "put") -> str:
    """What a process that may write files of so many bytes says."""
    arguments = [sys.executable, "-c", FULL, str(folder), str(room), work]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("room", [5000, 5001, 5057, 0])
def test_a_full_disk_is_said_and_costs_nothing_that_was_written(tmp_path: Path, room: int) -> None:
    said = on_a_disk_of(room, tmp_path)
    assert "make room and run again" in said and str(tmp_path / FILE) in said
    kept = stats(tmp_path)
    assert kept.torn == 0 and kept.replies == kept.by["model", "ask"].replies if room else not kept.replies
    assert not room or 0 < kept.replies < 100
    held = (tmp_path / FILE).read_bytes()
    assert "make room" in on_a_disk_of(room, tmp_path)
    assert (tmp_path / FILE).read_bytes() == held  # trying again on the full disk loses nothing either
    assert on_a_disk_of(1 << 20, tmp_path) == ""
    assert (tmp_path / FILE).read_bytes().startswith(held)
    journal = Journal(tmp_path)
    assert [journal.get(f"{n:032x}") is not None for n in range(100)] == [True] * 100
    assert journal.torn == 0
    journal.close()


def test_pruning_without_room_leaves_the_journal_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path, *(reply(f"{n:032x}") for n in range(100)))
    held = (tmp_path / FILE).read_bytes()
    assert "make room" in on_a_disk_of(2000, tmp_path, "prune")
    assert (tmp_path / FILE).read_bytes() == held
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_memory_is_sixteen_bytes_a_slot() -> None:
    index = module.Index()
    for number in range(3000):
        index.add(f"{number * 2**40:032x}", number)
    assert sys.getsizeof(index._keys) + sys.getsizeof(index._places) <= 3000 * 4 * 16 + 1000
