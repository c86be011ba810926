"""The kept rows as a dataset that anyone can load: `train/*.parquet` and the card in the run folder."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from synth.recipe import Recipe
from synth.store import Dataset, has_tools, read_parquet, train_columns, write_parquet, write_whole

FILE_ROWS = 50_000
COLUMNS = ("id", "messages", "strategy", "seed_id", "prompt", "sample", "model", "replies")
"""What a training row keeps of its record: the conversation and where it came from."""
TOOLS = """Turns and the column `tools` are JSON values: `datasets` 4.8 and later load them as the objects
that chat templates take, `tokenizer.apply_chat_template(row["messages"], tools=row["tools"])`; elsewhere they
are text for `json.loads`. What tools give back is invented where the ids of calls begin with "sim".

"""


def write_train(dataset: Dataset, recipe: Recipe) -> list[Path]:
    """`train-*.parquet` and `validation-*.parquet` from the kept rows of `curated/`, and `README.md` beside.

    Rows of one seed never fall on both sides. The card stands in the run folder, not in `train/`, because
    pandas reads every file of a folder.
    """
    splits: dict[str, list[pa.Table]] = {"train": [], "validation": []}
    shards = [_kept(shard) for shard in dataset.shards("curated")]
    tools = any(map(has_tools, shards))
    for table in shards:
        kept = train_columns(table, COLUMNS, tools=tools)
        held = pa.array(
            [_share(seed) < recipe.run.validation for seed in kept["seed_id"].to_pylist()], pa.bool_()
        )
        splits["validation"].append(kept.filter(held))
        splits["train"].append(kept.filter(pa.compute.invert(held)))
    files: list[Path] = []
    for split, tables in splits.items():
        whole = pa.concat_tables(tables)
        if split == "train" or whole.num_rows:
            files += _write(dataset.folder / "train", split, whole)
    card = dataset.folder / "README.md"
    written = sorted({file.name.partition("-")[0] for file in files})
    write_whole(card, _card(dataset, recipe, written, tools=tools).encode())
    return [*files, card]


def _kept(shard: Path) -> pa.Table:
    table = read_parquet(shard)
    return table.filter(pa.compute.equal(table["status"], "kept")).select(
        [name for name in (*COLUMNS, "tools") if name in table.column_names]
    )


def _share(seed_id: str) -> float:
    return int(hashlib.sha256(seed_id.encode()).hexdigest()[:8], 16) / 0x1_0000_0000


def _write(folder: Path, split: str, whole: pa.Table) -> Iterator[Path]:
    for number, start in enumerate(range(0, max(1, whole.num_rows), FILE_ROWS)):
        path = folder / f"{split}-{number:05d}.parquet"
        write_parquet(path, whole.slice(start, FILE_ROWS))
        yield path


def _card(dataset: Dataset, recipe: Recipe, splits: list[str], *, tools: bool) -> str:
    configs = "\n".join(f"  - split: {split}\n    path: train/{split}-*.parquet" for split in splits)
    counts = dataset.counts()
    reasons = "\n".join(
        f"| {status} | {by} | {reason} | {rows:,} |" for (status, by, reason), rows in counts.counter.items()
    )
    return f"""---
configs:
- config_name: default
  data_files:
{configs}
tags:
- synthetic
---
# {recipe.name}

Synthetic instruction data made by synth from `recipe.toml` beside this card.
Teacher: `{recipe.teacher.model}`.

{counts}

| status | step | reason | rows |
|---|---|---|---:|
{reasons}

{TOOLS if tools else ""}\
Every row names its seed, prompt file and version, model, sample number and the journal keys of the replies
that made it. `curated/` holds all rows, the rejected too, with every verdict; `manifest.json` has the sha256
of every file.
"""
