"""The kept rows as a dataset that anyone can load: `train/*.parquet` and the card in the run folder."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

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
    shards = dataset.shards("curated")
    tools = any(has_tools(_kept(shard)) for shard in shards if "tools" in pq.read_schema(shard).names)
    names = [PROMPT_FILE if name == "prompt" else name for name in COLUMNS] + ["tools"] * tools
    places = [(folder, split) for split in ("train", "validation") for folder in ("train", "preference")]
    outs = {place: _Files(dataset.folder, *place) for place in places}
    for shard in shards:
        kept = _kept(shard)
        held = pa.array(
            [_share(seed) < recipe.run.validation for seed in kept["seed_id"].to_pylist()], pa.bool_()
        )
        parts = {"train": kept.filter(pa.compute.invert(held)), "validation": kept.filter(held)}
        for split, rows in parts.items():
            outs["train", split].add(train_columns(rows, COLUMNS, tools=tools).rename_columns(names))
            outs["preference", split].add(_pairs(rows))
    files = [file for place, out in outs.items() for file in out.end(empty=place == ("train", "train"))]
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


@dataclass(slots=True)
class _Files:
    """The files of a split, written as soon as their rows are there."""

    run: Path
    folder: str
    split: str
    tables: list[pa.Table] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def add(self, table: pa.Table) -> None:
        self.tables.append(table)
        while sum(table.num_rows for table in self.tables) >= FILE_ROWS:
            whole = pa.concat_tables(self.tables)
            self._write(whole.slice(0, FILE_ROWS))
            self.tables = [whole.slice(FILE_ROWS)]

    def end(self, *, empty: bool) -> list[Path]:
        """Write what is left; a file without rows where there is no other and `empty` asks for one."""
        left = pa.concat_tables(self.tables) if self.tables else None
        if left is not None and (left.num_rows or (empty and not self.files)):
            self._write(left)
        return self.files

    def _write(self, table: pa.Table) -> None:
        path = self.run / self.folder / f"{self.split}-{len(self.files):05d}.parquet"
        write_parquet(path, table)
        self.files.append(path)


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
