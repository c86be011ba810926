"""Answers that are right or wrong by their making, for `verifiers.py`: real data, and one thing altered."""

import ast
import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """An answer, whether it is right, how it was made, and the filter that must tell."""

    step: Mapping[str, Any]
    right: bool
    kind: str
    answer: str
    fields: Mapping[str, Any] = field(default_factory=dict)


ENDINGS: dict[str, Callable[[str], str]] = {
    "#### n": lambda n: f"#### {n}",
    "the answer is n": lambda n: f"So the answer is {n}.",
    "the answer is $n.00": lambda n: f"Therefore, the answer is ${n}.00.",
    "**Answer:** n units": lambda n: f"**Answer:** {n} units",
    "boxed": lambda n: f"Thus we get $\\boxed{{{n}}}$.",
    "boxed with a unit": lambda n: f"Hence \\[\\boxed{{{n} \\text{{ dollars}}}}\\]",
    "last number": lambda n: f"In the end there are **{n}** of them!",
    "last number, then words": lambda n: f"Total = {n} dollars, which is what was asked for.",
    "n = last of a sum": lambda n: f"Final answer: 2 * 3 - 6 + {n} = {n}",
}


def maths(rows: list[Row]) -> Iterator[Case]:
    """GSM8K: the solutions as they are, with other endings, and with other numbers."""
    step = {"use": "maths"}
    for index, row in enumerate(rows):
        solution, _, gold = row["answer"].rpartition("\n#### ")
        gold = gold.replace(",", "")
        steps = re.sub(r"<<[^>]*>>", "", solution)
        fields = {"answer": row["answer"]}
        yield Case(step, True, "the solution as it is", row["answer"], fields)
        endings = list(ENDINGS.items())
        for kind, ending in (endings[index % len(endings)], endings[(index * 5 + 1) % len(endings)]):
            yield Case(step, True, kind, f"{steps}\n{ending(gold)}", fields)
        grouped = f"{int(gold):,}" if re.fullmatch(r"\d{4,}", gold) else ""
        if grouped:
            yield Case(step, True, "thousands with commas", f"{steps}\nThe answer is {grouped}.", fields)
        wrong = {
            "one more": str(int(gold) + 1),
            "a digit altered": gold[:-1] + str((int(gold[-1]) + 3) % 10),
            "ten times": gold + "0" if gold != "0" else "10",
            "the sign turned": gold[1:] if gold.startswith("-") else f"-{gold}" if gold != "0" else "-1",
            "a half more": f"{gold}.5",
            "thousand": f"{gold} thousand" if gold != "0" else "1 thousand",
        }
        if len(gold) > 1 and gold[0] != gold[1] and gold.isdigit():
            wrong["two digits swapped"] = gold[1] + gold[0] + gold[2:]
        found = [number for number in re.findall(r"=(\d+)>>", solution) if number != gold]
        if found:
            wrong["a number on the way"] = found[-1]
        for number, (kind, value) in enumerate(wrong.items()):
            _, ending = endings[(index + number) % len(endings)]
            if kind in ("a half more", "thousand") and ".00" in ending("0"):
                ending = ENDINGS["the answer is n"]
            yield Case(step, False, kind, f"{steps}\n{ending(value)}", fields)
        one_more = wrong["one more"]
        remark = f"{steps}\nSo it is {gold}. I checked this 2 times."
        yield Case(step, True, "limit: unmarked, a number in a remark", remark, fields)
        headed = f"#### Step 1: Read\n{steps}\n\n#### 2. Conclude\n\n{ENDINGS['the answer is n'](gold)}"
        yield Case(step, True, "headings of four marks", headed, fields)
        changed = f"{steps}\nThe answer is {one_more}. No, wait: the answer is {gold}."
        yield Case(step, True, "the answer is, twice", changed, fields)
        yield Case(step, False, "the right one ruled out", f"The answer is {one_more}, not {gold}.", fields)
        last = f"{steps}\nI get {one_more}, where others get {gold}."
        yield Case(step, False, "limit: unmarked, the right one in a remark", last, fields)
        yield Case(step, False, "no number", "I can't tell from what is given.", fields)


class _Alter(ast.NodeTransformer):
    """Alters the first place that one of the rules fits."""

    def __init__(self, alter: Callable[[ast.AST], ast.AST | None]) -> None:
        self.alter, self.done = alter, False

    def visit(self, node: ast.AST) -> ast.AST:
        if not self.done and (new := self.alter(node)) is not None:
            self.done = True
            return new
        return super().visit(node)  # type: ignore[no-any-return]


def _one_more(node: ast.AST) -> ast.AST | None:
    fits = isinstance(node, ast.Constant) and type(node.value) is int
    return ast.Constant(node.value + 1) if fits else None  # type: ignore[attr-defined]


SWAPS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult}
SWAPS |= {
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.Mod: ast.Mult,
}


def _other_operator(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        return ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        return ast.Compare(node.left, [SWAPS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    return None


def _no_result(node: ast.AST) -> ast.AST | None:
    return ast.Return(ast.Constant(None)) if isinstance(node, ast.Return) and node.value else None


def code(rows: list[Row]) -> Iterator[Case]:
    """HumanEval: the canonical solutions in three forms, and with one thing altered in the function."""
    step = {"use": "code_tests", "field": "test", "prefix": "prompt"}
    for index, row in enumerate(rows):
        body, whole = row["canonical_solution"], row["prompt"] + row["canonical_solution"]
        yield Case(step, True, "the body, stripped", body.strip(), row)
        yield Case(
            step, True, "the function in a fence", f"Here it is:\n\n```python\n{whole}```\nIt works.", row
        )
        yield Case(step, True, "the function, bare", whole, row)
        tree = ast.parse(whole)
        for kind, alter in (("one more", _one_more), ("another operator", _other_operator)):
            altered = _Alter(alter)
            function = next(
                p for p in tree.body if isinstance(p, ast.FunctionDef) and p.name == row["entry_point"]
            )
            new = altered.visit(copy.deepcopy(function))
            if altered.done:
                head = "".join(f"{ast.unparse(part)}\n" for part in tree.body if part is not function)
                source = head + ast.unparse(ast.fix_missing_locations(new))
                yield Case(step, False, kind, f"```python\n{source}\n```", row)
        yield Case(step, False, "return None", "return None", row)
        yield Case(step, False, "leaves by sys.exit(0)", "import sys\n    sys.exit(0)", row)
        yield Case(step, False, "leaves by os._exit(0)", f"import os\nos._exit(0)\n{whole}", row)
        yield Case(step, False, "no code", "I would sort the list and then look at it.", row)
        if index % 16 == 0:
            yield Case({**step, "seconds": 1}, False, "an endless loop", "while True:\n        pass", row)


WORDS = [
    "the",
    "harbour",
    "lay",
    "quiet",
    "before",
    "dawn",
    "and",
    "only",
    "two",
    "gulls",
    "were",
    "awake",
    "while",
    "boats",
    "came",
    "home",
]


def _prose(count: int) -> str:
    """So many words, in sentences of eight, without commas."""
    words = [WORDS[index % len(WORDS)] for index in range(count)]
    parts = [" ".join(words[at : at + 8]).capitalize() + "." for at in range(0, count, 8)]
    return " ".join(parts)


def _counted(relation: str, count: int) -> tuple[str, int, int, int]:
    """IFEval's relation as ours, a count that meets it, and the nearest that doesn't."""
    if relation == "less than":
        return "at most", count - 1, count - 1, count
    return "at least", count, count, count - 1


def _constraint(name: str, args: Row) -> tuple[Row, str, str] | None:
    """One of IFEval's instructions as a constraint of ours, an answer that meets it and one that doesn't."""
    text = _prose(40)
    kind = name.partition(":")[2]
    words = [*args.get("keywords", ()), *args.get("forbidden_words", ())]
    phrase = args.get("end_phrase", "").strip().strip('"')
    marker = args.get("postscript_marker", "").strip()
    simple: dict[str, tuple[Row, str, str]] = {
        "no_comma": ({"kind": "no_comma"}, text, text.replace(" quiet", ", quiet", 1)),
        "english_lowercase": ({"kind": "lowercase"}, text.lower(), text),
        "english_capital": ({"kind": "uppercase"}, text.upper(), text.upper()[:-2] + "e."),
        "quotation": ({"kind": "quotation"}, f'"{text}"', f'"{text}'),
        "title": ({"kind": "title"}, f"<<The harbour>>\n{text}", f"<The harbour>\n{text}"),
        "json_format": ({"kind": "json_format"}, json.dumps({"text": text}), json.dumps({"text": text})[:-1]),
        "two_responses": (
            {"kind": "two_responses"},
            f"{text}\n******\n{text} Twice.",
            f"{text}\n***\n{text} Twice.",
        ),
        "existence": (
            {"kind": "keywords", "keywords": words},
            f"{text} {' and '.join(words)}.",
            f"{text} {' and '.join(words[1:])}.",
        ),
        "forbidden_words": (
            {"kind": "forbidden_words", "words": words},
            text,
            f"{text} Then {words[-1] if words else ''} came.",
        ),
        "end_checker": (
            {"kind": "end_phrase", "phrase": phrase},
            f"{text} {phrase}",
            f"{text} {phrase} And so on.",
        ),
        "postscript": (
            {"kind": "postscript", "marker": marker},
            f"{text}\n\n{marker} Bring ropes.",
            f"{text}\n\nBring ropes.",
        ),
    }
    return simple.get(kind) or _count(kind, args, text)


def _count(kind: str, args: Row, text: str) -> tuple[Row, str, str] | None:
    """The instructions that count something; the answer that misses it is one off."""
    if kind in ("number_words", "number_sentences"):
        of = kind.partition("_")[2]
        relation, count, good, bad = _counted(args["relation"], int(args[f"num_{of}"]))
        if min(good, bad) < 1:
            return None
        make = _prose if of == "words" else lambda n: _prose(8 * n)
        asked = {"kind": f"{of.removesuffix('s')}_count", "relation": relation, "count": count}
        return asked, make(good), make(bad)
    several: dict[str, tuple[str, str, str, str]] = {
        "number_bullet_lists": ("bullet_count", "num_bullets", "* {} point\n", ""),
        "number_highlighted_sections": ("highlight_count", "num_highlights", "The *{} part* is here. ", text),
        "number_placeholders": ("placeholder_count", "num_placeholders", "Write to [{} name]. ", text),
        "number_paragraphs": ("paragraph_count", "num_paragraphs", "Paragraph {} is here.\n\n", ""),
    }
    if kind not in several:
        return None
    name, key, one, before = several[kind]
    count = int(args[key])
    right, wrong = (f"{before}\n" + "".join(one.format(n) for n in range(k)) for k in (count, count - 1))
    return {"kind": name, "count": count}, right, wrong


def constraints(rows: list[Row]) -> Iterator[Case]:
    """IFEval: each instruction that has a kind of ours, met and missed by one thing."""
    for row in rows:
        for name, args in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            made = _constraint(name, args)
            if made is None:
                continue
            asked, good, bad = made
            fields = {"constraints": [asked]}
            yield Case({"use": "constraint"}, True, asked["kind"], good, fields)
            yield Case({"use": "constraint"}, False, asked["kind"], bad, fields)


KINDS = ["open_qa", "classification", "general_qa", "brainstorming", "information_extraction", "closed_qa"]
KINDS += ["summarization", "creative_writing"]
SCHEMA = {
    "type": "object",
    "properties": {
        "instruction": {"type": "string", "minLength": 1},
        "category": {"enum": KINDS},
        "input": {"type": "string"},
        "output": {"type": "string", "minLength": 1},
        "words": {"type": "integer", "minimum": 1},
    },
    "required": ["instruction", "category", "output", "words"],
    "additionalProperties": False,
}


def schemas(rows: list[Row]) -> Iterator[Case]:
    """Dolly's rows as JSON objects, in three dresses, and with one thing broken."""
    step = {"use": "schema", "schema": SCHEMA}
    for row in rows:
        value = {key: row[key] for key in ("instruction", "category", "input", "output")}
        value["words"] = len(row["output"].split())
        if not (value["instruction"] and value["words"]):
            continue
        text = json.dumps(value)
        yield Case(step, True, "bare", text)
        yield Case(
            step, True, "in a fence", f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
        )
        yield Case(step, True, "a fence in prose", f"Here you are:\n\n```\n{text}\n```\n\nAnything else?")
        yield Case(step, False, "another category", json.dumps({**value, "category": "poem"}))
        yield Case(step, False, "a key more", json.dumps({**value, "more": 1}))
        yield Case(step, False, "a key less", json.dumps({k: v for k, v in value.items() if k != "output"}))
        yield Case(step, False, "a number as text", json.dumps({**value, "words": str(value["words"])}))
        yield Case(step, False, "cut", text[:-1])
        yield Case(step, False, "a comma too many", text[:-1] + ",}")
        yield Case(step, False, "single quotes", text.replace('"', "'"))


def quotations(rows: list[Row]) -> Iterator[Case]:
    """Dolly's outputs as texts: five words in a row and a number of each as an object, and spoilt."""
    step = {"use": "grounded_values"}
    for row, other in itertools.pairwise(rows):
        text = row["output"]
        words = [word for word in text.split() if any(map(str.isalnum, word))]
        if len(words) < 12 or len({word.lower() for word in words[4:9]}) < 5:
            continue
        fields, said = {"text": text}, words[4:9]
        figures = [int(word) for word in words if word.isascii() and word.isdigit()][:1]
        value = {"said": " ".join(said), **({"figure": figures[0]} if figures else {})}
        yield Case(step, True, "as it stands", json.dumps(value), fields)
        capitals = {**value, "said": " ".join(said).upper()}
        yield Case(step, True, "in capitals, fenced", f"```json\n{json.dumps(capitals)}\n```", fields)
        yield Case(step, True, "nested", json.dumps({"rows": [value], "known": True, "more": None}), fields)
        wrong = {
            "two words swapped": [*said[:2], said[3], said[2], said[4]],
            "a word left out": [*said[:2], *said[3:]],
            "a word put in": [*said[:2], "verily", *said[2:]],
            "the last word cut": [*said[:-1], said[-1][: max(1, len(said[-1]) // 2)] + "x"],
            "words of another row": other["output"].split()[:5],
        }
        for kind, altered in wrong.items():
            yield Case(step, False, kind, json.dumps({**value, "said": " ".join(altered)}), fields)
        for figure in figures:
            yield Case(step, False, "ten million more", json.dumps({"figure": figure + 10**7}), fields)


def patterns(rows: list[Row]) -> Iterator[Case]:
    """BIG-Bench Hard, word sorting: the sorted list by a pattern, and spoilt."""
    whole = {"use": "regex", "pattern": r"[a-z&'-]+(?: [a-z&'-]+)*"}
    for row in rows:
        words = row["target"].split()
        own = {"use": "regex", "field": "wanted"}
        fields = {"wanted": r"\s+".join(map(re.escape, words))}
        yield Case(whole, True, "a pattern of the recipe", row["target"])
        yield Case(own, True, "a pattern of the record", row["target"], fields)
        yield Case({**own, "search": True}, True, "a part", f"Sorted: {row['target']}.", fields)
        yield Case(whole, False, "commas", ", ".join(words))
        yield Case(whole, False, "a sentence around", f"Sorted: {row['target']}.")
        yield Case(own, False, "two words swapped", " ".join([words[1], words[0], *words[2:]]), fields)
        yield Case({**own, "search": True}, False, "a part with a word less", " ".join(words[1:]), fields)
    yield Case({"use": "regex", "pattern": "(a+)+b"}, False, "a match without end", "a" * 40)


FORMS: dict[str, Callable[[str], str]] = {
    "bare": lambda label: label,
    "lower case and a full stop": lambda label: f"{label.lower()}.",
    "bold": lambda label: f"**{label}**",
    "Answer:": lambda label: f"Let me go through it.\n\nAnswer: {label}",
    "**Answer:**": lambda label: f"It ends two steps away.\n\n**Answer:** {label}.",
    "the answer is": lambda label: f"First left and then right. So the answer is {label}.",
    "boxed": lambda label: f"We get \\boxed{{{label}}}.",
    "with a reason": lambda label: f"{label}, because the steps cancel out.",
    "the last line": lambda label: f"Left and right cancel out.\n{label}",
    "in brackets": lambda label: f"({label})",
}


def choices(rows: list[Row]) -> Iterator[Case]:
    """BIG-Bench Hard, navigation: the right label, the other, both and none; and as letters."""
    for index, row in enumerate(rows):
        right = row["target"]
        other = "No" if right == "Yes" else "Yes"
        letters = ("B", "C") if index % 2 else ("A", "D")
        words = {"use": "choice", "labels": ["Yes", "No"], "field": "label"}
        alone = {"use": "choice", "field": "label"}
        for kind, form in FORMS.items():
            for step, good, bad in ((words, right, other), (alone, *letters)):
                if step is alone and kind == "with a reason":
                    continue
                fields = {"label": good}
                yield Case(step, True, kind, form(good), fields)
                yield Case(step, False, f"the other label, {kind}", form(bad), fields)
        fields = {"label": right}
        text = row["input"].split(". ")[1]
        yield Case(alone, True, "letter and text", f"{letters[0]}) {text}.", {"label": letters[0]})
        yield Case(words, False, "both", f"{right} or {other}", fields)
        yield Case(words, False, "both, marked", f"Answer: {right}, {other}", fields)
        yield Case(words, False, "not this one", f"The answer is not {right}.", fields)
        yield Case(words, False, "none", "It depends on how you look at it.", fields)
        yield Case(words, False, "a word that begins so", "Yesterday, now.", fields)
