"""The whole set: what the selectors say of each kept row, the rows beyond a target, and `curated/`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from synth.steps import Selection, Selector
from synth.store import Dataset, read_parquet, to_record, to_table, write_parquet
from synth.targets import REACHED, Quota, keys_of

BATCH_ROWS = 4096


def select(dataset: Dataset, selectors: Sequence[Selector]) -> dict[str, list[Selection]]:
    """What the selectors say of each row, up to the first rejection; every one sees what the last kept."""
    decided: dict[str, list[Selection]] = {}
    out: set[str] = set()
    for selector in selectors:
        ids: list[str] = []
        selections = list(selector.select(_batches(dataset, selector, out, ids)))
        for row_id, selection in zip(ids, selections, strict=True):
            verdict = replace(selection.verdict, by=selector.name)
            decided.setdefault(row_id, []).append(replace(selection, verdict=verdict))
            if not verdict.keep:
                out.add(row_id)
    return decided


def _batches(dataset: Dataset, selector: Selector, out: set[str], ids: list[str]) -> Iterator[pa.RecordBatch]:
    """The kept rows that are not `out`, in order; their ids are added to `ids` as they are read."""
    for shard in dataset.shards("raw"):
        table = read_parquet(shard)
        rows = zip(table["id"].to_pylist(), table["status"].to_pylist(), strict=True)
        keep = [status == "kept" and row_id not in out for row_id, status in rows]
        kept = table.filter(pa.array(keep, pa.bool_()))
        ids += kept["id"].to_pylist()
        yield from kept.select(list(selector.columns)).to_batches(max_chunksize=BATCH_ROWS)


def write(dataset: Dataset, decided: Mapping[str, Sequence[Selection]]) -> Iterator[Path]:
    """Write `curated/`, shard by shard, with what was decided of each row; yields the paths."""
    for shard in dataset.shards("raw"):
        records = []
        for row in read_parquet(shard).to_pylist():
            record = to_record(row)
            if selections := decided.get(record.id):
                last = selections[-1]
                record = replace(
                    record,
                    verdicts=(*record.verdicts, *(s.verdict for s in selections)),
                    status="kept" if last.verdict.keep else "rejected",
                    duplicate_of=last.duplicate_of,
                )
            records.append(record)
        path = dataset.folder / "curated" / shard.name
        write_parquet(path, to_table(records))
        yield path


def kept(
    dataset: Dataset, decided: Mapping[str, Sequence[Selection]], wanted: Sequence[Quota]
) -> Counter[str]:
    """Rows that filters, judges and selectors kept, by the quota that they count for."""
    return Counter(key for key, _ in _remaining(dataset, decided, wanted))


def trim(dataset: Dataset, decided: dict[str, list[Selection]], wanted: Sequence[Quota]) -> None:
    """Decide against the rows that quotas have too many: the last ones, in the order of the files."""
    missing: Counter[str] = Counter()
    for quota in wanted:
        missing[quota.key] += quota.kept
    for key, row_id in list(_remaining(dataset, decided, wanted)):
        missing[key] -= 1
        if missing[key] < 0:
            decided.setdefault(row_id, []).append(Selection(REACHED))


def _remaining(
    dataset: Dataset, decided: Mapping[str, Sequence[Selection]], wanted: Sequence[Quota]
) -> Iterator[tuple[str, str]]:
    """The quota and the id of each row that is kept so far, in the order of the files."""
    key_of = keys_of(wanted)
    for shard in dataset.shards("raw"):
        for row in read_parquet(shard, ["id", "status", "strategy", "seed_id"]).to_pylist():
            said = decided.get(row["id"])
            if row["status"] == "kept" and (not said or said[-1].verdict.keep):
                yield key_of(row["strategy"], row["seed_id"]), row["id"]
