import json
import re
from pathlib import Path

import pytest

from synth.errors import DataError
from synth.seeds import read_seeds
from synth.types import JSON

ROOT = Path(__file__).parent.parent
TREE = """
science:
  physics:
    optics: How light bends.
    waves:
    heat: {description: Warm and cold., level: school, examples: ['Why is ice cold?']}
  chemistry: [acids, rust]
art:
  songs:
    examples: ["Sing!"]
"""


def tree(root: Path, text: str) -> str:
    (root / "topics.yaml").write_text(text)
    return str(root / "topics.yaml")


def leaves_of(path: str) -> list[dict[str, JSON]]:
    return [dict(seed.fields) for seed in read_seeds(path)]


def test_the_ends_of_a_tree_are_seeds_that_know_their_place(tmp_path: Path) -> None:
    found = leaves_of(tree(tmp_path, TREE))
    assert [fields["path"] for fields in found] == [
        "science/physics/optics",
        "science/physics/waves",
        "science/physics/heat",
        "science/chemistry/acids",
        "science/chemistry/rust",
        "art/songs",
    ]
    assert found[2] == {
        "leaf": "heat",
        "path": "science/physics/heat",
        "branch": ["science", "physics"],
        "description": "Warm and cold.",
        "examples": ["Why is ice cold?"],
        "level": "school",
    }
    assert [fields["description"] for fields in found] == [
        "How light bends.",
        "",
        "Warm and cold.",
        "",
        "",
        "",
    ]
    assert [fields["examples"] for fields in found[-2:]] == [[], ["Sing!"]]
    every = read_seeds(str(tmp_path / "topics.yaml")).every
    assert every == {"leaf", "path", "branch", "description", "examples"}


def test_a_list_of_names_is_a_tree_too(tmp_path: Path) -> None:
    assert [fields["path"] for fields in leaves_of(tree(tmp_path, "- tea\n- milk\n"))] == ["tea", "milk"]


def test_folders_with_qna_files_are_a_tree_whose_examples_are_alike(tmp_path: Path) -> None:
    files = {
        "skills/rhymes/qna.yaml": "version: 2\ntask_description: ' Find rhymes. '\nseed_examples:\n"
        "- question: What rhymes with tea?\n  answer: Sea.\n  context: ''\n",
        "skills/rhymes/attribution.txt": "Ourselves",
        "knowledge/tea/green/qna.yml": "document_outline: All of tea\ndomain: drinks\nseed_examples:\n"
        "- context: Green tea is brewed at 80 degrees.\n  questions_and_answers:\n"
        "  - {question: 'How hot?', answer: 80 degrees.}\n  - {question: 'Boiling?', answer: No.}\n",
        "README.md": "A tree",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    context = "Green tea is brewed at 80 degrees."
    assert leaves_of(str(tmp_path)) == [
        {
            "leaf": "green",
            "path": "knowledge/tea/green",
            "branch": ["knowledge", "tea"],
            "description": "All of tea",
            "domain": "drinks",
            "examples": [
                {"context": context, "question": "How hot?", "answer": "80 degrees."},
                {"context": context, "question": "Boiling?", "answer": "No."},
            ],
        },
        {
            "leaf": "rhymes",
            "path": "skills/rhymes",
            "branch": ["skills"],
            "description": "Find rhymes.",
            "version": 2,
            "examples": [{"question": "What rhymes with tea?", "answer": "Sea."}],
        },
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [b\n", r"topics\.yaml:2: is no valid YAML \(.+\); mend it"),
        ("a:\n  b:\n  b:\n", r"topics\.yaml:3: `b` is there twice; join them"),
        ("a:\n  no:\n", r"topics\.yaml:2: the name False is no text; put it in quotation marks"),
        ("a: [1984]\n", r"topics\.yaml: a: the name 1984 is no text; put it in quotation marks"),
        ("a: [{b: c}]\n", r"topics\.yaml: a: an item of a list must be a name; write a map for what"),
        ("a: {b: 3}\n", r"topics\.yaml: a/b: must hold names of topics, a description or nothing"),
        ("a: {}\n", r"topics\.yaml: a: must hold names of topics, a description or nothing"),
        ("", r"topics\.yaml: the top: must hold names of topics"),
        ("description: x\n", r"topics\.yaml: the top: is a leaf without a name; write its name above"),
        ("a: {description: x, b: {c: d}}", r"topics\.yaml: a: is a leaf, as it has .* can't hold `b`"),
        ("a: {description: x, path: y}", r"topics\.yaml: a: `path` tells the leaf's place; rename"),
        ("a: {description: [x]}", r"topics\.yaml: a: description: must be a text; "),
        ("a: {examples: x}", r"topics\.yaml: a: examples: must be a list"),
    ],
)
def test_what_is_no_tree_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_seeds(tree(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", r"qna\.yaml: must be a map of a leaf's fields"),
        ("seed_examples: x\n", r"qna\.yaml: seed_examples: must be a list of maps"),
        ("seed_examples: [{question: x}]\n", r"qna\.yaml: seed_examples: each needs a question and an"),
        ("seed_examples: [{questions_and_answers: x}]\n", r"qna\.yaml: seed_examples: each needs a question"),
    ],
)
def test_a_qna_file_that_is_none_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "qna.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_seeds(str(tmp_path))


def test_the_tree_in_the_docs_gives_the_seed_beside_it(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "seeds.md").read_text()
    [shown], [seed] = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("yaml", "json"))
    found = leaves_of(tree(tmp_path, shown))
    assert json.loads(seed) in found
    assert [fields["leaf"] for fields in found] == ["optics", "heat", "waves", "acids", "rust"]


def test_the_shipped_tree_has_24_leaves_in_three_levels() -> None:
    found = leaves_of(str(ROOT / "data" / "seeds" / "topics.yaml"))
    assert len(found) == len({str(fields["leaf"]) for fields in found}) == 24
    assert all(str(fields["path"]).count("/") == 2 and fields["description"] for fields in found)
