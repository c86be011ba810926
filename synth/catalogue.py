"""`synth strategies`: what the strategies are, told by their own docstrings, fields and recipes."""

import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from synth.errors import RecipeError
from synth.recipe import find_root, load_recipe
from synth.shipped import NAMES, USE
from synth.steps import Step, Strategy, find

RECIPES = Path(__file__).parent.parent / "flows" / "recipes"
PAPER = re.compile(r"(?:([A-Z][\w'\u2019-]+(?: et al\.| and [A-Z]\w+)? \d{4}),\s+)?arXiv\s+(\d{4}\.\d{4,5})")
TABLE = re.compile(r"^\[\[generate\]\].*?(?=^\[(?!\[?generate\.)|\Z)", re.MULTILINE | re.DOTALL)
WORDS: Mapping[object, str] = {int: "integer", float: "number", str: "text", bool: "true or false"}
LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "length >="}


@dataclass(frozen=True, slots=True)
class Example:
    """A `[[generate]]` table, the recipe that it is of, and the strategy that it makes."""

    text: str
    recipe: str = ""
    step: Strategy | None = None


def strategies() -> RenderableType:
    """A line for each strategy that ships: its name, what it does, its papers."""
    table = Table(title="synth strategies NAME tells more", title_justify="left", title_style="dim")
    table.add_column("strategy", no_wrap=True)
    table.add_column("what it does", ratio=3)
    table.add_column("paper", ratio=2)
    for name in USE["generate"]:
        cls = find("generate", name)
        if issubclass(cls, Strategy) and cls.numbers_lines:
            continue  # it makes no rows
        table.add_row(name, Text(_purpose(cls)), Text("\n".join(_papers(cls))))
    return table


def strategy(use: str) -> RenderableType:
    """All that there is to know of one strategy: a shipped name, or `module:Class` beside the project here.

    Raises:
        RecipeError: there is none of that name, or it is no strategy.
    """
    root = find_root(Path("recipe.toml"))
    if str(root) not in sys.path:
        sys.path.append(str(root))
    try:
        cls = find("generate", use)
    except ValueError as error:
        raise RecipeError("", "", str(error).removeprefix("use: ")) from error
    name = NAMES.get(f"{cls.__module__}:{cls.__qualname__}", use)
    example = _example(name, cls)
    told = [_purpose(cls), *_paragraphs(inspect.getdoc(cls) or "")]
    parts: list[RenderableType] = [Text(name, style="bold"), Text("\n\n".join(dict.fromkeys(told)))]
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for key, value in _facts(cls, example.step):
        facts.add_row(key, Text(value))
    parts += [Text(), facts] if facts.row_count else []
    parts += [Text(), _fields(cls)]
    origin = f", from {example.recipe}" if example.recipe else ""
    text = Text(example.text, no_wrap=True, overflow="ignore")
    return Group(*parts, Text(f"\nExample{origin}", style="bold italic"), text)


def _facts(cls: type[Step], step: Strategy | None) -> Iterator[tuple[str, str]]:
    """What the class says of itself, and its instance in the example."""
    yield from (("paper", paper) for paper in _papers(cls))
    if step is None:
        names = [cls.model_fields[key].default for key in cls.prompts_used if key in cls.model_fields]
        prompts = [name for name in names if isinstance(name, str)]
    else:
        prompts = step.prompt_names()
        if lack := step.missing(frozenset()):
            yield "needs", lack.removeprefix("needs ")
        if step.needs:
            yield "needs", f"an endpoint that can do: {', '.join(sorted(step.needs))}"
        rows = "1 row" if step.rows_per_seed == 1 else f"{step.rows_per_seed} rows"
        beside = f", with the fields {', '.join(sorted(step.adds))} beside the seed's" if step.adds else ""
        yield "yields", f"{rows} a sample of a seed, as in the example{beside}"
    if prompts:
        yield "prompts", ", ".join(f"prompts/{name}.jinja" for name in dict.fromkeys(prompts))


def _fields(cls: type[Step]) -> Table:
    """The keys of the strategy's recipe table: its own first, then those that all strategies have."""
    table = Table(title="Fields", title_justify="left", title_style="bold italic")
    table.add_column("field", no_wrap=True)
    table.add_column("default", overflow="fold", max_width=28)
    table.add_column("meaning", ratio=1, min_width=26)
    shared = Strategy.model_fields.keys()
    for name, info in sorted(cls.model_fields.items(), key=lambda item: item[0] in shared):
        kind = ", ".join([_type(info.annotation), *_limits(info)])
        told = " ".join((info.description or "").split())
        meaning = Text.assemble(told, "\n" if told else "", (kind, "dim italic"))
        table.add_row(Text(info.alias or name), Text(_default(info)), meaning)
    return table


def _type(kind: object) -> str:
    """A type in the words of a recipe."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(_toml, inner))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in inner if part is not NoneType))
    if origin is tuple and inner[-1:] != (...,):
        return f"[{', '.join(map(_type, inner))}]"
    if origin in (tuple, list, frozenset, set) or origin is Sequence:
        return f"list of {_type(inner[0])}"
    if hasattr(kind, "__metadata__"):
        return _type(inner[0])
    if origin in (dict, Mapping) or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "table"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _limits(info: FieldInfo) -> Iterator[str]:
    for rule in info.metadata:
        for key, sign in LIMITS.items():
            if (limit := getattr(rule, key, None)) is not None:
                yield f"{sign} {limit}"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    return "" if value is None else _toml(value)


def _toml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list | frozenset):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _purpose(cls: type[Step]) -> str:
    """The first sentence of the module's docstring, where it begins with a name, else of the class's."""
    module = inspect.getdoc(sys.modules[cls.__module__]) or ""
    named = re.match(r"`[^`]+`: (.+?)(?:\.\s|\.?$)", _paragraphs(module)[0] if module else "")
    if named:
        return named[1][0].upper() + named[1][1:] + "."
    told = _paragraphs(inspect.getdoc(cls) or "")
    return told[0] if told else ""


def _papers(cls: type[Step]) -> list[str]:
    """The papers that the docstring of a strategy's module cites, each once."""
    found = PAPER.findall(inspect.getdoc(sys.modules[cls.__module__]) or "")
    return list(dict.fromkeys(", ".join(filter(None, (by, f"arXiv {number}"))) for by, number in found))


def _paragraphs(docstring: str) -> list[str]:
    """The paragraphs of a docstring, each one line; an item of a list stands on one of its own."""
    return [re.sub(r"\n(?!- )\s*", " ", part) for part in docstring.split("\n\n") if part.strip()]


def _example(name: str, cls: type[Step]) -> Example:
    """The strategy's table in a shipped recipe, best that of its name; else the least that a recipe needs."""
    for file in sorted(RECIPES.glob("*.toml"), key=lambda file: (file.stem != name, file.stem)):
        for index, text in enumerate(TABLE.findall(file.read_text(encoding="utf-8"))):
            if tomllib.loads(text)["generate"][0].get("use") == name:
                return Example(text.strip(), f"flows/recipes/{file.name}", load_recipe(file).generate[index])
    needed = [(key, info) for key, info in cls.model_fields.items() if info.is_required()]
    lines = [f"{info.alias or key} = ...    # {_type(info.annotation)}" for key, info in needed]
    text = "\n".join(["[[generate]]", f'use = "{name}"', *lines])
    made = None if needed else cls()
    return Example(text, step=made if isinstance(made, Strategy) else None)
