"""Training speed and memory: ours beside a bare PyTorch loop and TRL's defaults, on the same rows.

    python benchmarks/train.py CHAT_ROWS.json --rows 48 --repeats 2

CHAT_ROWS is a dataset in any format that `synth curate` reads. Every arm trains the shipped model on one
thread in a process of its own, arms in turn, and is measured from its second optimizer step on: tokens of the
rows, prompts included and padding not, by the seconds that the processor worked for it. Prints a Markdown
table; ratios are medians of the same repeat's figure by the bare loop's.
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from time import process_time
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from synth import formats, readers
from synth.errors import Unusable
from synth.student import loading, sft
from synth.student.batches import collate
from synth.student.data import encode
from synth.student.job import Job, Prepared
from synth.tables import Train
from synth.weights import find_model

BATCH = 8
RATE = 1e-4


@dataclass(frozen=True, slots=True)
class Bench:
    """The base model and its tokenizer, the rows' folder, their limit in tokens, and the rows tokenized."""

    model: Path
    tokenizer: Any
    data: Path
    max_length: int
    prepared: Prepared

    def rows(self) -> list[dict[str, Any]]:
        """The rows in the order in which they are taken where nobody sorts them."""
        return [self.prepared.rows[number] for number in range(len(self.prepared.rows))]


class Clock:
    """Processor seconds and tokens from the end of the first optimizer step."""

    def __init__(self) -> None:
        self.seconds, self.tokens = 0.0, 0

    def step(self, tokens: int) -> None:
        """An optimizer step is done, and so many tokens so far."""
        if not self.seconds:
            self.seconds, self.tokens = process_time(), tokens
        self.last = (process_time() - self.seconds, tokens - self.tokens)

    @property
    def speed(self) -> float:
        """Tokens a processor second."""
        seconds, tokens = self.last
        return tokens / seconds


def bare(bench: Bench, clock: Clock) -> None:
    """A plain loop in bfloat16, the head on completion tokens alone; rows in order, padded, as they come."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(bench.model, dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    rows, seen = bench.rows(), 0
    for start in range(0, len(rows), BATCH):
        batch = collate(rows[start : start + BATCH])
        mask, labels = batch["attention_mask"], batch["labels"]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=batch["input_ids"], attention_mask=mask, use_cache=False)[0]
            wanted = labels[:, 1:] != -100
            logits = model.lm_head(hidden[:, :-1][wanted])
        torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen += int(mask.sum())
        clock.step(seen)


def ours(bench: Bench, clock: Clock, *, adapter: Literal["lora", "none"], packing: bool = False) -> None:
    """Our trainer as `synth train` makes it, less its checkpoints."""
    config = Train(
        adapter=adapter,
        packing=packing,
        learning_rate=RATE,
        epochs=1,
        batch_size=BATCH,
        max_length=bench.max_length,
        trainer={"save_strategy": "no"},
    )
    with tempfile.TemporaryDirectory() as folder:
        job = Job(config, bench.model, bench.data, Path(folder))
        model = loading.load(bench.model, bench.prepared.longest)
        trained(sft.trainer(job, model, bench.tokenizer, bench.prepared), clock)


def trl(bench: Bench, clock: Clock, *, lora: bool) -> None:
    """TRL's trainer with its own defaults, told rows, batch and rate."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            learning_rate=RATE,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            max_length=None,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            include_num_input_tokens_seen="non_padding",
        )
        model = AutoModelForCausalLM.from_pretrained(bench.model, dtype=torch.bfloat16)
        columns = ["input_ids", "labels"]
        adapter = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
        made = SFTTrainer(
            model,
            settings,
            train_dataset=bench.prepared.rows.select_columns(columns),
            processing_class=bench.tokenizer,
            peft_config=adapter if lora else None,
        )
        trained(made, clock)


def trained(trainer: Any, clock: Clock) -> None:  # noqa: ANN401
    """Train, with the clock at each step."""
    from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            clock.step(state.num_input_tokens_seen)

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Watch())
    trainer.train()


ARMS: dict[str, Callable[[Bench, Clock], None]] = {
    "bare loop, all weights": bare,
    "synth, all weights": partial(ours, adapter="none"),
    "synth, all weights, packed": partial(ours, adapter="none", packing=True),
    "synth, LoRA": partial(ours, adapter="lora"),
    "synth, LoRA, packed": partial(ours, adapter="lora", packing=True),
    "TRL, all weights": partial(trl, lora=False),
    "TRL, LoRA": partial(trl, lora=True),
}


def measured(arm: Callable[[Bench, Clock], None], bench: Bench) -> tuple[float, float]:
    """Tokens a processor second, and the peak memory of the arm's process in GiB."""

    def work(end: Connection) -> None:
        clock = Clock()
        with loading.quiet():
            arm(bench, clock)
        end.send((clock.speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))

    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=work, args=(there,))
    process.start()
    there.close()
    try:
        speed, memory = here.recv()
    finally:
        process.join()
    return float(speed), float(memory)


def base(layers: int | None, folder: Path) -> Path:
    """The folder of the shipped model, or of its first layers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = Path(find_model("smollm2-135m-instruct", print))
    if layers is None:
        return model
    first = AutoModelForCausalLM.from_pretrained(model, num_hidden_layers=layers, dtype="bfloat16")
    first.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def prepare(dataset: str, rows: int, max_length: int, model: Path, folder: Path) -> Bench:
    """The first rows of at most `max_length` tokens, tokenized."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    data = folder / "data"
    data.mkdir()

    def short() -> Any:  # noqa: ANN401
        for number, line in enumerate(readers.row_reader(dataset)()):
            try:
                turns = [dict(turn) for turn in formats.parse(line).messages]
            except Unusable:
                continue
            if len(encode(tokenizer, turns)[0]) <= max_length:  # type: ignore[arg-type]
                yield {"id": str(number), "messages": turns}

    chosen = list(islice(short(), rows))
    pq.write_table(pa.Table.from_pylist(chosen), data / "train-00000.parquet")
    job = Job(Train(max_length=max_length), model, data, folder / "student")
    return Bench(model, tokenizer, data, max_length, sft.prepare(job, tokenizer))


def table(found: dict[str, list[tuple[float, float]]], say: Callable[[str], object]) -> None:
    """Medians, ranges and ratios."""
    say(
        "| arm | tokens per CPU s, median (range) | by the bare loop's | peak memory, GiB |\n"
        "|---|---:|---:|---:|\n"
    )
    base = [speed for speed, _ in next(iter(found.values()))]
    for name, results in found.items():
        speeds = [speed for speed, _ in results]
        ratio = statistics.median(speed / one for speed, one in zip(speeds, base, strict=True))
        spread = f"{min(speeds):.0f} to {max(speeds):.0f}"
        peak = max(memory for _, memory in results)
        say(f"| {name} | {statistics.median(speeds):.0f} ({spread}) | {ratio:.2f} | {peak:.2f} |\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("dataset")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--layers", type=int, help="the model's first layers alone, for a quick look")
    parser.add_argument(
        "--arm", action="append", choices=list(ARMS), help="these alone; the first is the base"
    )
    options = parser.parse_args(arguments)
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    loading.import_torch()
    import torch

    importlib.import_module("trl")  # once, not in each arm's process
    torch.set_num_threads(1)
    arms = options.arm or list(ARMS)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with loading.quiet():
            model = base(options.layers, place / "model")
            bench = prepare(options.dataset, options.rows, options.max_length, model, place)
        counts = bench.prepared.counts
        sys.stdout.write(
            f"{counts.rows} rows of at most {options.max_length} tokens, {counts.tokens:,} tokens, "
            f"{counts.trained:,} of them trained; {BATCH} rows a step; {options.repeats} repeats\n\n"
        )
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
        for _repeat in range(options.repeats):
            for name in arms:
                found[name].append(measured(ARMS[name], bench))
                sys.stderr.write(f"{name}: {found[name][-1]}\n")
    table(found, sys.stdout.write)


if __name__ == "__main__":
    main()
