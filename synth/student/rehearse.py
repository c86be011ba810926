"""A training that is not begun: what becomes of its rows, and one of them with its trained tokens marked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from synth.student import packing, sft, templates
from synth.student.batches import sampler
from synth.student.data import marked
from synth.student.job import Job
from synth.student.replay import Drawn
from synth.student.shards import Counted


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a training would be made of.

    `fill` is the share of positions of an epoch's forward passes that hold a token; `steps` are the
    optimizer's, of all epochs.
    """

    example: str
    counts: Counted
    epochs: float
    steps: int
    fill: float
    packed: bool
    max_length: int
    replay: Sequence[Drawn]

    def lines(self) -> Iterator[str]:
        """For the screen: the example, then counts."""
        made = self.counts
        planned, share = made.rows + made.left_out, made.trained / made.tokens
        yield self.example
        yield ""
        yield f"trained, between ⟦ and ⟧: {made.trained:,} of {made.tokens:,} tokens an epoch ({share:.1%})"
        yield f"rows: {planned:,} planned = {made.rows:,} trained on + {made.left_out:,} left out"
        yield f"longer than {self.max_length:,} tokens: those left out, and {made.cut:,} cut after an answer"
        yield f"longest row: {made.longest:,} tokens"
        for each in self.replay:
            yield (
                f"replay: {each.rows:,} of {each.asked:,} rows asked of {each.path}"
                + (f"; {each.unusable:,} of its rows have no answer" if each.unusable else "")
            )
        yield f"steps: {self.steps:,} in {self.epochs:g} epochs"
        how = "rows of like length together" + (", packed" if self.packed else "")
        yield f"tokens fill {100 * self.fill:.1f}% of the positions that are computed ({how})"


def rehearse(job: Job, model: Path | str) -> Rehearsal:
    """Tokenize the rows of an SFT job as its training would. Loads no weights and leaves no file.

    `model` is a folder, or a name on the Hub.

    Raises:
        DataError, TrainError: as `sft.prepare` and `templates.apply`.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    templates.apply(tokenizer, job.template)
    config = job.config
    with TemporaryDirectory() as folder:
        prepared = sft.prepare(replace(job, out=Path(folder)), tokenizer)
        first = prepared.rows[0]
        lengths = prepared.rows.data.column("length").to_pylist()
        example = marked(tokenizer, first["input_ids"], first["labels"])
    order = sampler(lengths, config.batch_size, config.seed)
    return Rehearsal(
        example=example,
        counts=prepared.counts,
        epochs=config.epochs,
        steps=ceil(config.epochs * ceil(len(lengths) / config.batch_size)),
        fill=_fill([lengths[row] for row in order], min(config.micro_batch, config.batch_size), job),
        packed=config.packing,
        max_length=config.max_length,
        replay=prepared.replay,
    )


def _fill(lengths: Sequence[int], rows: int, job: Job) -> float:
    positions = 0
    for at in range(0, len(lengths), rows):
        part = lengths[at : at + rows]
        packs = (
            packing.pack(part, job.config.max_length)
            if job.config.packing
            else [[n] for n in range(len(part))]
        )
        positions += len(packs) * packing.width(packs, part)
    return sum(lengths) / positions
