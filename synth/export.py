"""The kept rows as a dataset that anyone can load: `train/*.parquet` and the card in the run folder."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa

from synth.recipe import Recipe
from synth.store import (
    MESSAGES,
    Dataset,
    has_tools,
    message,
    read_parquet,
    train_columns,
    write_parquet,
    write_whole,
)

FILE_ROWS = 50_000
COLUMNS = ("id", "messages", "strategy", "seed_id", "prompt", "sample", "model", "replies")
"""What a training row keeps of its record: the conversation and where it came from."""
TOOLS = """Turns and the column `tools` are JSON values: `datasets` 4.8 and later load them as the objects
that chat templates take, `tokenizer.apply_chat_template(row["messages"], tools=row["tools"])`; elsewhere they
are text for `json.loads`. What tools give back is invented where the ids of calls begin with "sim".

"""
PROMPT_FILE = "prompt_file"
"""What `prompt` is called in these files: trainers read a column `prompt` as the turns before an answer."""
PAIRS = pa.schema([("id", pa.string()), *((name, MESSAGES) for name in ("prompt", "chosen", "rejected"))])
"""A pair: its turns up to the two answers, and each of them as turns, as TRL's DPO reads them."""


def write_train(dataset: Dataset, recipe: Recipe) -> list[Path]:
    """`train-*.parquet` and `validation-*.parquet` from the kept rows of `curated/`, and `README.md` beside.

    `train/` has every kept conversation, `preference/` those that have a rejected answer too, as pairs. Rows
    of one seed never fall on both sides. The card stands in the run folder, not in `train/`, because pandas
    reads every file of a folder.
    """
    splits: dict[tuple[str, str], list[pa.Table]] = {}
    shards = [_kept(shard) for shard in dataset.shards("curated")]
    tools = any(map(has_tools, shards))
    names = [PROMPT_FILE if name == "prompt" else name for name in COLUMNS] + ["tools"] * tools
    for kept in shards:
        held = pa.array(
            [_share(seed) < recipe.run.validation for seed in kept["seed_id"].to_pylist()], pa.bool_()
        )
        parts = {"train": kept.filter(pa.compute.invert(held)), "validation": kept.filter(held)}
        for split, rows in parts.items():
            columns = train_columns(rows, COLUMNS, tools=tools).rename_columns(names)
            splits.setdefault(("train", split), []).append(columns)
            splits.setdefault(("preference", split), []).append(_pairs(rows))
    files: list[Path] = []
    for (folder, split), tables in splits.items():
        whole = pa.concat_tables(tables)
        if (folder, split) == ("train", "train") or whole.num_rows:
            files += _write(dataset.folder / folder, split, whole)
    card = dataset.folder / "README.md"
    write_whole(card, _card(dataset, recipe, files, tools=tools).encode())
    return [*files, card]


def _origin(recipe: Recipe) -> str:
    if recipe.of_rows:
        rows = Path(recipe.seeds.path).name
        return f"The rows of `{rows}`, curated by synth after `recipe.toml` beside this card."
    made = "Synthetic instruction data made by synth from `recipe.toml` beside this card."
    return f"{made}\nTeacher: `{recipe.teacher.model}`."


def _kept(shard: Path) -> pa.Table:
    table = read_parquet(shard)
    return table.filter(pa.compute.equal(table["status"], "kept")).select(
        [name for name in (*COLUMNS, "fields", "tools") if name in table.column_names]
    )


def _pairs(rows: pa.Table) -> pa.Table:
    """Those of the rows whose field `rejected` holds turns."""
    pairs = []
    some = rows.filter(pa.compute.match_substring(rows["fields"], '"rejected":'))
    for row in some.select(["id", "messages", "fields"]).to_pylist():
        if rejected := orjson.loads(row["fields"]).get("rejected"):
            *prompt, chosen = map(message, row["messages"])
            pairs.append({"id": row["id"], "prompt": prompt, "chosen": [chosen], "rejected": rejected})
    return pa.Table.from_pylist(pairs, PAIRS)


def _share(seed_id: str) -> float:
    return int(hashlib.sha256(seed_id.encode()).hexdigest()[:8], 16) / 0x1_0000_0000


def _write(folder: Path, split: str, whole: pa.Table) -> Iterator[Path]:
    for number, start in enumerate(range(0, max(1, whole.num_rows), FILE_ROWS)):
        path = folder / f"{split}-{number:05d}.parquet"
        write_parquet(path, whole.slice(start, FILE_ROWS))
        yield path


def _card(dataset: Dataset, recipe: Recipe, files: list[Path], *, tools: bool) -> str:
    configs = "\n".join(
        f"- config_name: {name}\n  data_files:\n"
        + "\n".join(f"  - split: {split}\n    path: {folder}/{split}-*.parquet" for split in splits)
        for name, folder in (("default", "train"), ("preference", "preference"))
        if (splits := sorted({f.name.partition("-")[0] for f in files if f.parent.name == folder}))
    )
    counts = dataset.counts()
    reasons = "\n".join(
        f"| {status} | {by} | {reason} | {rows:,} |" for (status, by, reason), rows in counts.counter.items()
    )
    return f"""---
configs:
{configs}
tags:
- synthetic
---
# {recipe.name}

{_origin(recipe)}

{counts}

| status | step | reason | rows |
|---|---|---|---:|
{reasons}

{TOOLS if tools else ""}\
Every row names its seed, prompt file and version, model, sample number and the journal keys of the replies
that made it. `curated/` holds all rows, the rejected too, with every verdict; `manifest.json` has the sha256
of every file.
"""
