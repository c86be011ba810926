"""Leaves of a tree of topics, from one YAML file or from folders: what a dataset shall cover, and how evenly.

After LAB (Sudalairaj et al. 2024, arXiv 2403.01081), which draws its questions from the leaves of a taxonomy;
a folder tree as InstructLab keeps one (a `qna.yaml` in the folder of each leaf) is read as it is.

The one rule of a file: a map is a branch and its keys are names, unless it has the key `description` or
`examples`: then it is a leaf and its keys are fields. Under a name, a text is the description of that leaf,
nothing makes a leaf without one, and a list holds the names of leaves.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from synth.errors import DataError

if TYPE_CHECKING:
    from yaml import Node, SafeLoader

SUFFIXES = (".yaml", ".yml")
LEAF = "qna.yaml"
"""The file that makes a folder a leaf."""
LEAF_FILES = (LEAF, "qna.yml")
MARKS = ("description", "examples")
"""The keys that make a map a leaf; every leaf has both as fields, empty where the file has none."""
PLACE = ("leaf", "path", "branch")
Fields: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str, ...]


def leaves(file: Path) -> Iterator[Fields]:
    """The leaves of a tree in a YAML file, in file order.

    Each has `leaf` (its name), `path` (the names down to it, joined by /), `branch` (those above it, a list),
    `description` and `examples`, and the other fields that stand in the file.

    Raises:
        DataError: the file is no tree; names file, place and mend.
    """
    yield from _below(file, _load(file), ())


def is_tree(folder: Path) -> bool:
    """Whether a folder, or one below it, holds the file of a leaf."""
    return any(file.name in LEAF_FILES for file in folder.rglob("qna.y*ml"))


def folder_leaves(folder: Path) -> Iterator[Fields]:
    """The leaves of a tree of folders, sorted by path: the folders that hold a `qna.yaml`.

    Fields as those of `leaves`. InstructLab's `task_description` or `document_outline` is the `description`;
    its `seed_examples` are the `examples`, each with `question` and `answer`, and `context` where it has one.

    Raises:
        DataError: a file is no map of fields; names it and the mend.
    """
    files = (file for file in folder.rglob("qna.y*ml") if file.name in LEAF_FILES)
    for file in sorted(files, key=lambda file: file.relative_to(folder).parts):
        place = file.relative_to(folder).parent.parts or (folder.resolve().name,)
        fields = _load(file)
        if not isinstance(fields, dict):
            raise DataError(file, "must be a map of a leaf's fields; write `description: ...`")
        told = [fields.pop(key, "") or "" for key in ("task_description", "document_outline")]
        fields = {"description": "\n".join(str(text).strip() for text in told if text), **fields}
        if "seed_examples" in fields:
            fields["examples"] = list(_examples(file, fields.pop("seed_examples")))
        yield _leaf(file, place, fields)


def _below(file: Path, node: object, place: Place) -> Iterator[Fields]:
    """The leaves of what stands under a name."""
    at = "/".join(place) or "the top"
    if isinstance(node, dict) and not node.keys().isdisjoint(MARKS):
        if branches := [key for key, value in node.items() if isinstance(value, dict)]:
            mend = f"is a leaf, as it has a description or examples, and can't hold `{branches[0]}` below it"
            raise DataError(file, f"{at}: {mend}; give that a place of its own")
        if not place:
            raise DataError(file, f"{at}: is a leaf without a name; write its name above it")
        yield _leaf(file, place, node)
    elif isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _below(file, value, (*place, _name(file, at, name)))
    elif isinstance(node, list) and node:
        for name in node:
            yield _leaf(file, (*place, _name(file, at, name)), {})
    elif place and (node is None or isinstance(node, str)):
        yield _leaf(file, place, {"description": node} if node else {})
    else:
        raise DataError(file, f"{at}: must hold names of topics, a description or nothing; mend it")


def _leaf(file: Path, place: Place, fields: Mapping[str, Any]) -> Fields:
    if taken := [name for name in PLACE if name in fields]:
        raise DataError(file, f"{'/'.join(place)}: `{taken[0]}` tells the leaf's place; rename the field")
    for name, kind, word in (("description", str, "text"), ("examples", list, "list")):
        if not isinstance(fields.get(name, kind()), kind):
            raise DataError(file, f"{'/'.join(place)}: {name}: must be a {word}; write it as one")
    at = {"leaf": place[-1], "path": "/".join(place), "branch": list(place[:-1])}
    return {**at, **dict(zip(MARKS, ("", []), strict=True)), **fields}


def _name(file: Path, at: str, name: object) -> str:
    if isinstance(name, str) and name.strip():
        return name.strip()
    if isinstance(name, dict | list):
        raise DataError(file, f"{at}: an item of a list must be a name; write a map for what holds more")
    raise DataError(file, f"{at}: the name {name!r} is no text; put it in quotation marks")


def _examples(file: Path, examples: object) -> Iterator[Fields]:
    """Questions with their answers, one below the other, each with the context that it stands under."""
    if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
        raise DataError(file, "seed_examples: must be a list of maps; write `- question: ...`")
    for example in examples:
        context = {"context": example["context"]} if example.get("context") else {}
        pairs = example.get("questions_and_answers", [example])
        for pair in pairs if isinstance(pairs, list) else [pairs]:
            if not isinstance(pair, dict) or not {"question", "answer"} <= pair.keys():
                raise DataError(file, "seed_examples: each needs a question and an answer; add them")
            yield {**context, "question": pair["question"], "answer": pair["answer"]}


def _load(file: Path) -> object:
    """What a YAML file holds. A key that is there twice is an error: its first value would be lost."""
    import yaml

    Loader: Any = type("Loader", (yaml.SafeLoader,), {})

    def unique(loader: "SafeLoader", node: "Node") -> dict[Any, Any]:
        keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            at = f"{file}:{node.value[number][0].start_mark.line + 1}"
            if not isinstance(key, str):
                raise DataError(at, f"the name {key!r} is no text; put it in quotation marks")
            if key in keys[:number]:
                raise DataError(at, f"`{key}` is there twice; join them")
        made: dict[Any, Any] = loader.construct_mapping(node, deep=True)
        return made

    Loader.add_constructor("tag:yaml.org,2002:map", unique)
    try:
        return yaml.load(file.read_bytes(), Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise DataError(place, f"is no valid YAML ({problem}); mend it") from error
    except OSError as error:
        raise DataError(file, f"can't be read ({error.strerror}); let it, or move it away") from error
