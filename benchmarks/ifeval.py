"""Does `instruction_check` say of an answer what IFEval's reference in lm-evaluation-harness says?

`python benchmarks/ifeval.py --data FOLDER`, in which lie ifeval/input_data.jsonl and dolly/dolly_3k.json. To
each question it makes answers (`ifeval_cases.py`) and asks both, instruction by instruction, strictly and
loosely. `--answers FILE` takes a model's instead: JSON lines with `key` and `answer`. The reference runs as
it is installed, with Punkt's English model from a package in place of NLTK's download; langdetect's seed is
set, without which it draws at random.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ifeval_cases import answers

from synth.evaluators.ifeval import KINDS, met, readings
from synth.evaluators.ifeval_texts import SEED, write_punkt
from synth.evaluators.stats import wilson

Row = Mapping[str, Any]
Reference = Callable[[Row, str], Mapping[str, Any]]
DRAWN = "keywords:letter_frequency of a mark"
"""Where a question asks for another mark than a letter, the reference counts a letter that it draws."""


def reference(folder: Path) -> Reference:
    """lm-eval's own grading of a question's answer; `folder` takes the data that NLTK reads."""
    os.environ.setdefault("NLTK_DATA", str(write_punkt(folder)))
    from langdetect import DetectorFactory
    from lm_eval.tasks.ifeval.utils import process_results

    DetectorFactory.seed = SEED
    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)
    return lambda row, answer: dict(process_results(row, [answer]))


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON or JSONL file."""
    if not file.is_file():
        sys.exit(f"{file}: no such file; give the folder of the data by --data")
    text = file.read_text(encoding="utf-8")
    return (
        [json.loads(line) for line in text.split("\n") if line]
        if file.suffix == ".jsonl"
        else json.loads(text)
    )


def name(kind: str, args: Mapping[str, Any]) -> str:
    """Under which the verdicts of an instruction are counted."""
    mark = kind == "keywords:letter_frequency" and not ("a" <= args["letter"].lower() <= "z")
    return DRAWN if mark else kind


def main() -> None:
    """The command line; prints a table in Markdown and the total; ends with 1 where they disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data")
    parser.add_argument("--answers", type=Path, action="append", default=[], help="a model's answers instead")
    parser.add_argument("--show", type=int, default=5, help="so many disagreements")
    options = parser.parse_args()
    questions = rows_of(options.data / "ifeval" / "input_data.jsonl")
    texts = [
        row["output"] for row in rows_of(options.data / "dolly" / "dolly_3k.json") if len(row["output"]) > 40
    ]
    said: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for file in options.answers:
        for row in rows_of(file):
            said[row["key"]].append(("a model's", row["answer"]))
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in (*sorted(KINDS), DRAWN)}
    made: Counter[str] = Counter()
    prompts: Counter[bool] = Counter()
    show = options.show
    with tempfile.TemporaryDirectory() as folder:
        judge = reference(Path(folder))
        for number, row in enumerate(questions, 1):
            sys.stderr.write(f"\r{number:,} of {len(questions):,} questions")
            pairs = list(zip(row["instruction_id_list"], row["kwargs"], strict=True))
            whole = all(name(*pair) != DRAWN for pair in pairs)
            for how, answer in said[row["key"]] if options.answers else answers(row, texts):
                made[how] += 1
                theirs = judge(row, answer)
                for level, read in (("strict", [answer]), ("loose", readings(answer))):
                    ours = [any(met(text, *pair) for text in read) for pair in pairs]
                    each = theirs[f"inst_level_{level}_acc"]
                    prompts[all(ours) == theirs[f"prompt_level_{level}_acc"]] += whole
                    for pair, mine, other in zip(pairs, ours, each, strict=True):
                        count = counts[name(*pair)]
                        count.update(n=1, met=int(other), same=int(mine == other))
                        if mine != other and name(*pair) != DRAWN and show > 0:
                            show -= 1
                            sys.stderr.write(f"\n{level} {pair}, {how}: ours {mine}, {answer[:300]!r}\n")
    sys.stderr.write("\n")
    sys.exit(report(counts, made, prompts))


def report(counts: Mapping[str, Counter[str]], made: Counter[str], prompts: Counter[bool]) -> int:
    """Prints the tables; 1 where a verdict differs that the reference doesn't draw."""
    lines = ["| kind | verdicts | met, by the reference | the same |", "|---|---:|---:|---:|"]
    for kind, count in counts.items():
        share = f"{count['met'] / count['n']:.1%}" if count["n"] else "-"
        lines.append(f"| {kind} | {count['n']:,} | {share} | {count['same']:,} |")
    fair = [count for kind, count in counts.items() if kind != DRAWN]
    same, n = sum(count["same"] for count in fair), sum(count["n"] for count in fair)
    low, high = wilson(same, n)
    ways = ", ".join(f"{how} {count:,}" for how, count in made.most_common())
    lines += [
        "",
        f"{made.total():,} answers ({ways}).",
        f"Prompt level, strict and loose: {prompts[True]:,} of {prompts.total():,} verdicts are the same.",
        f"Instruction level, strict and loose, all kinds but the last line's: {same:,} of {n:,} verdicts "
        f"are the same, {same / n:.4%} [{low:.4%}, {high:.4%}].",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(same != n or prompts[False] > 0)


if __name__ == "__main__":
    main()
