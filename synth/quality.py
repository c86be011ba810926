"""How a run's rows look before and after each stage: to inform, never as a target (docs/quality.md says why).

Who was still in after a stage is rebuilt from the verdicts. Of each stage at most 20,000 rows are measured,
those with the smallest hashes of their ids: 9 bytes a row are held for all rows, and the texts of the sample.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from synth import diversity
from synth.compute.embeddings import WORDS, embedder
from synth.errors import DataError
from synth.recipe import Recipe
from synth.store import Dataset, message, read_parquet, sha256, write_whole
from synth.targets import REACHED
from synth.texts import texts
from synth.types import said

FORMAT = 1
"""Of quality.json; another one is measured anew."""
SAMPLE = 20_000
QUERIES = 2_000
"""Rows that are held against the sample for near-duplicates."""
TOPICS = 200
DRAWN_ROWS = 1_000
DRAWN_WORDS = 10_000
FEW = 20
"""A smaller stage does not decide how much is drawn of the others."""
TOP_PAIRS = 20

Quality: TypeAlias = "dict[str, Any]"
"""quality.json: see `measure`."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """The sampled rows of the first stage, in the order of their hashes, and the stage that each reached."""

    questions: list[str]
    answers: list[str]
    reached: NDArray[np.uint8]


def stages(recipe: Recipe, *, curated: bool) -> list[str]:
    """The stages in order: the rows made, then those left after the filters, the judges, each selector."""
    found = ["made", "after filters"]
    if recipe.novelty is not None:
        found.append("after novelty")
    if recipe.judges:
        found.append("after judges")
    if curated:
        found += [f"after {selector.name}" for selector in recipe.select]
        if recipe.run.target is not None:
            found.append("after target")
    return found


def reached(recipe: Recipe, shard: pa.Table, *, curated: bool) -> NDArray[np.uint8]:
    """For each row the number of stages that it was in: 0 where nothing was made, all where it is kept.

    What no judge, selector or [novelty] rejected was rejected by a filter or by its strategy's own checks.
    """
    names = stages(recipe, curated=curated)
    first: dict[str, int] = {"novelty": names.index("after novelty")} if "after novelty" in names else {}
    first |= {judge.name: names.index("after judges") for judge in recipe.judges}
    selectors = [selector.name for selector in recipe.select] if curated else []
    begin = len(names) - len(selectors) - ("after target" in names)
    first |= {name: begin + place for place, name in reversed(list(enumerate(selectors)))}
    first[REACHED.by] = len(names) - 1
    found = np.full(shard.num_rows, len(names), np.uint8)
    made = pa.compute.fill_null(pa.compute.list_value_length(shard["messages"]), 0).to_numpy() > 0
    by = shard["rejected_by"].to_pylist()
    for row, name in enumerate(by):
        if name is None:
            continue
        found[row] = first.get(name, 1)
        if selectors.count(name) > 1:  # the same selector twice: which of them had the last word
            before = sum(verdict["by"] == name for verdict in shard["verdicts"][row].as_py()) - 1
            found[row] = begin + [place for place, other in enumerate(selectors) if other == name][before]
    found[~made] = 0
    return found


def of(dataset: Dataset, recipe: Recipe) -> Quality:
    """What `measure` says of a run, from quality.json where it is of these rows; writes it.

    Raises:
        DataError: there are no rows yet, or a file is corrupt.
    """
    stage = "curated" if dataset.shards("curated") else "raw"
    shards = dataset.shards(stage)
    if not shards:
        raise DataError(dataset.folder / "raw", "has no rows; run `synth generate` first")
    held = hashlib.sha256("".join(map(sha256, shards)).encode()).hexdigest()[:16]
    path = dataset.folder / "quality.json"
    if path.is_file():
        known: Quality = json.loads(path.read_bytes())
        if (known.get("format"), known.get("rows_hash")) == (FORMAT, held):
            return known
    with threadpool_limits(1):  # small matrices: more threads only wait for one another
        measured = measure(dataset, recipe, stage)
    found = {"format": FORMAT, "rows_hash": held, "rows_of": stage, **measured}
    write_whole(path, json.dumps(found, indent=1, ensure_ascii=False).encode() + b"\n")
    return found


def measure(dataset: Dataset, recipe: Recipe, stage: str) -> Quality:
    """`planned` rows, what was drawn, and for each stage its name, rows, rows measured, and figures."""
    names = stages(recipe, curated=stage == "curated")
    sample, rows, planned = _sample(dataset, recipe, stage, len(names))
    sides = {"question": sample.questions, "answer": sample.answers}
    numbered = {side: diversity.numbered(texts_) for side, texts_ in sides.items()}
    words = {side: np.array([len(text) for text in rows_], np.int64) for side, rows_ in numbered.items()}
    spoken = {side: diversity.languages(texts_) for side, texts_ in sides.items()}
    leading = [diversity.leading(text) for text in sample.questions]
    shingled = diversity.shingled(sample.questions)
    vectors = embedder(WORDS).embed(pa.array(sample.questions, pa.string()))
    some = np.asarray(vectors.any(axis=1))
    topics = np.zeros(len(vectors), np.intp)
    if some.any():
        topics[some] = diversity.clusters(vectors[some], TOPICS)
    members = [np.flatnonzero(sample.reached > number)[:SAMPLE] for number in range(len(names))]
    drawn = _drawn([(int(some[m].sum()), *(int(w[m].sum()) for w in words.values())) for m in members])
    drawn["topics"] = int(topics[some].max()) + 1 if some.any() else 0
    pairs: list[Counter[tuple[str, str]]] = []
    found = []
    for number, (name, at) in enumerate(zip(names, members, strict=True)):
        figures: dict[str, Any] = {}
        having = at[some[at]]
        for side in sides:
            own = [numbered[side][row] for row in at]
            for n in (1, 2, 3):
                figures[f"{side}_distinct_{n}"] = diversity.distinct(own, n, drawn[f"{side}_words"]).to_json()
            counts = words[side][at]
            sampled = len(at) < rows[number]
            figures[f"{side}_lengths"] = diversity.lengths(counts[counts > 0].tolist(), sampled=sampled)
            told = Counter(spoken[side][row] for row in at if sides[side][row])
            figures[f"{side}_languages"] = dict(sorted(told.items(), key=lambda item: (-item[1], item[0])))
        figures["near_duplicates"] = diversity.near_duplicates(shingled[at], QUERIES).to_json()
        figures["vendi"] = diversity.vendi(vectors[having], drawn["rows"]).to_json()
        covered = diversity.coverage(topics[having], drawn["topics"])
        figures["topics"] = round(covered, 4) if len(having) else None
        pairs.append(Counter(pair for row in at if (pair := leading[row]) is not None))
        figures["pairs"] = {"questions": pairs[-1].total(), "different": len(pairs[-1])}
        found.append({"stage": name, "rows": rows[number], "measured": len(at), **figures})
    return {"planned": planned, "drawn": drawn, "stages": found, "pairs": _commonest(pairs)}


def _drawn(sizes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """How many rows, words of questions and words of answers are drawn, for stages that have so many."""
    deciding = [size for size in sizes if size[0] >= FEW] or [size for size in sizes if size[0]]
    least = [min(column) for column in zip(*deciding, strict=True)] or [0, 0, 0]
    most = (DRAWN_ROWS, DRAWN_WORDS, DRAWN_WORDS)
    return {
        name: min(own, limit)
        for name, own, limit in zip(("rows", "question_words", "answer_words"), least, most, strict=True)
    }


def _commonest(pairs: Sequence[Counter[tuple[str, str]]]) -> list[dict[str, Any]]:
    """The commonest pairs of the last stage and of the first, each with its rows in every stage."""
    tops = (
        sorted(of.items(), key=lambda item: (-item[1], item[0]))[:TOP_PAIRS] for of in (pairs[-1], pairs[0])
    )
    named = dict.fromkeys(pair for top in tops for pair, _ in top)
    return [
        {"verb": verb, "object": other, "rows": [of[verb, other] for of in pairs]} for verb, other in named
    ]


def _sample(dataset: Dataset, recipe: Recipe, stage: str, count: int) -> tuple[_Sample, list[int], int]:
    """The texts that are measured, the rows of each stage, and the rows planned."""
    columns = ["id", "messages", "rejected_by", "verdicts"]
    ids: list[NDArray[np.uint64]] = []
    depths: list[NDArray[np.uint8]] = []
    shards = dataset.shards(stage)
    for shard in shards:
        table = read_parquet(shard, columns)
        ids.append(np.fromiter(map(_hash, table["id"].to_pylist()), np.uint64, table.num_rows))
        depths.append(reached(recipe, table, curated=stage == "curated"))
    hashed, depth = np.concatenate(ids), np.concatenate(depths)
    order = np.argsort(hashed, kind="stable")
    wanted = np.zeros(len(order), np.bool_)
    for number in range(count):
        wanted[order[depth[order] > number][:SAMPLE]] = True
    place = np.cumsum([0, *map(len, ids)])
    questions: dict[int, tuple[str, str]] = {}
    for number, shard in enumerate(shards):
        mask = wanted[place[number] : place[number + 1]]
        if mask.any():
            batch = read_parquet(shard, ["messages"]).filter(pa.array(mask)).combine_chunks()
            answers = texts(batch.to_batches()[0], "answer").to_pylist()
            at = (np.flatnonzero(mask) + place[number]).tolist()
            for row, turns, answer in zip(at, batch["messages"].to_pylist(), answers, strict=True):
                users = [said(message(turn)) for turn in turns if turn["role"] == "user"]
                questions[row] = "\n\n".join(users), answer
    chosen = [row for row in order.tolist() if wanted[row]]
    pairs = [questions[row] for row in chosen]
    taken = _Sample([q for q, _ in pairs], [a for _, a in pairs], depth[chosen])
    return taken, [int((depth > number).sum()) for number in range(count)], len(depth)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
