"""What the rules of `decontaminate` find of rephrased benchmark items, beside those of peers.

    python benchmarks/decontamination.py --data FOLDER

FOLDER has gsm8k/{train,test}.jsonl, decontamination/{rephrase_gsm8k,humaneval_python,HumanEval}.jsonl: line i
of a rephrased file rephrases item i. The likeness was fitted on what has an even number; the line "odd" is of
the others alone. Intervals are Wilson's, 95%.
"""

import argparse
import ast
import json
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from synth.compute.contamination import Items
from synth.compute.grams import Runs, words
from synth.compute.tfidf import Nearest
from synth.evaluators.stats import wilson
from synth.items import Item

Find = Callable[[Sequence[str]], Iterator[tuple[int, int]]]
"""The pairs (row, item) that a rule finds in texts."""


def by_runs(items: Sequence[str], size: int, cover: float = 0.0) -> Find:
    """Runs of `size` words that cover more than this share of an item."""
    known = words(pa.array(items))
    runs, counts = Runs(known, size), known.counts

    def find(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        for row, item, covered in zip(*runs.shared(words(pa.array(texts))), strict=True):
            if covered > cover * counts[item]:
                yield int(row), int(item)

    return find


def by_tfidf(items: Sequence[str], least: float) -> Find:
    """scikit-learn's TF-IDF of 3 to 5 characters, cosine above `least`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    tfidf = TfidfVectorizer(analyzer="char", ngram_range=(3, 5))
    known = tfidf.fit_transform(items).T

    def find(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        for start in range(0, len(texts), 512):
            cosines = (tfidf.transform(texts[start : start + 512]) @ known).toarray()
            for row in np.flatnonzero(cosines.max(1) > least).tolist():
                yield start + row, int(cosines[row].argmax())

    return find


def ours(items: Sequence[str]) -> Find:
    """`rephrased` with the likeness that it rejects from."""
    known = Items([Item(str(n), text) for n, text in enumerate(items)])

    def find(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        for match in known.by_meaning(pa.array(texts)):
            if match.score >= 0.5:
                yield match.row, int(known.items[match.item].id)

    return find


RULES: dict[str, Callable[[Sequence[str]], Find]] = {
    "13 words in a row (GPT-3)": lambda items: by_runs(items, 13),
    "12 words in a row (datatrove)": lambda items: by_runs(items, 12),
    "10 words in a row (phi)": lambda items: by_runs(items, 10),
    "8 words in a row": lambda items: by_runs(items, 8),
    "8 words, cover > 0.5 (Tulu 3)": lambda items: by_runs(items, 8, 0.5),
    "TF-IDF cosine > 0.5": lambda items: by_tfidf(items, 0.5),
    "TF-IDF cosine > 0.4": lambda items: by_tfidf(items, 0.4),
    "rephrased, ours": ours,
}


def lines(path: Path, key: str) -> list[str]:
    """One field of a JSONL file."""
    return [json.loads(line)[key] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def functions(most: int = 2000) -> list[str]:
    """Functions of Python's own library that have a docstring and 5 to 41 lines."""
    found: list[str] = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
                size = (node.end_lineno or 0) - node.lineno
                if 4 <= size <= 40:
                    part = text.split("\n")[node.lineno - 1 : node.lineno + size]
                    found.append(textwrap.dedent("\n".join(part)))
    return found[:most]


def share(found: int, of: int) -> str:
    """A share with its interval."""
    low, high = wilson(found, of)
    return f"{found / of:.4f} [{low:.3f}, {high:.3f}]"


def recall(find: Find, rephrased: Sequence[str], numbers: Sequence[int]) -> str:
    """Of these texts, the share in which a rule finds the item that they rephrase."""
    right = {row for row, item in find(rephrased) if row == item}
    return share(len(right & set(numbers)), len(numbers))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    test = lines(data / "gsm8k" / "test.jsonl", "question")
    train = lines(data / "gsm8k" / "train.jsonl", "question")
    whole = lines(data / "decontamination" / "rephrase_gsm8k.jsonl", "text")
    maths = [text.removeprefix("Question: ").split("\nAnswer:")[0] for text in whole]
    human = lines(data / "decontamination" / "HumanEval.jsonl", "text")
    code = lines(data / "decontamination" / "humaneval_python.jsonl", "text")
    there = [n for n, text in enumerate(code) if text.strip()]
    library = functions()
    Nearest(test[:9]).nearest(train[:9], 3)  # compiles
    by_runs(test[:9], 8)(train[:9])
    head = ("rule", "GSM8K", "HumanEval", "without empty rows", "GSM8K train", "library", "rows per CPU s")
    sys.stdout.write(" | ".join(head) + "\n")
    for name, rule in RULES.items():
        on_maths, on_code = rule(test), rule(human)
        start = time.process_time()
        flagged = {row for row, _ in on_maths(train)}
        speed = len(train) / (time.process_time() - start)
        wrong = {row for row, _ in on_code(library)}
        for half, step in (("", 1), ("odd", 2)):
            if half and rule is not ours:
                continue
            numbers = range(step - 1, len(maths), step)
            cells = [
                f"{name} {half}".strip(),
                recall(on_maths, maths, numbers),
                recall(on_code, code, range(step - 1, len(code), step)),
                recall(on_code, code, there if not half else [n for n in there if n % 2]),
                share(len([r for r in flagged if not half or r % 2]), len(range(step - 1, len(train), step))),
                share(len([r for r in wrong if not half or r % 2]), len(range(step - 1, len(library), step))),
                f"{speed:,.0f}",
            ]
            sys.stdout.write(" | ".join(cells) + "\n")


if __name__ == "__main__":
    main()
