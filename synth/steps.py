"""The five bases of every step, and `build`, which turns a recipe's table into one.

A step is a frozen pydantic model: its fields are its recipe keys, unknown keys are refused. To add your
own, derive from a base, and write `use = "my_package.my_module:MyStep"` in the recipe.
"""

import asyncio
import difflib
import functools
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeAlias, Unpack

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    ValidationError,
)

from synth.errors import RequestFailed, Unusable
from synth.shipped import NAMES, USE
from synth.types import JSON, Ask, Capability, Message, Prompt, Record, Reply, Sampling, Seed, Verdict

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pydantic_core import ErrorDetails

    from synth.prompts import Prompts


Row: TypeAlias = Record | Unusable | RequestFailed


class Step(BaseModel):
    """What all steps share: frozen, no unknown keys, and a name for verdicts and counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    prompts_used: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that hold the names of prompt files, for `synth check` and the run key."""

    @property
    def name(self) -> str:
        """The name under which verdicts and counts are filed."""
        return NAMES.get(f"{type(self).__module__}:{type(self).__qualname__}", type(self).__qualname__)

    def prompt_names(self) -> list[str]:
        """The prompt files that this step reads."""
        return [str(value) for key in self.prompts_used if (value := getattr(self, key)) is not None]

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The variables that each of its prompt files is given, where seeds have these `fields`."""
        return dict.fromkeys(self.prompt_names(), fields)

    @property
    def needs(self) -> frozenset[Capability]:
        """What the endpoint that this step asks must be able to do; proven before the run begins."""
        return frozenset()

    def missing(self, fields: frozenset[str]) -> str:
        """What this step needs and doesn't find among `fields`; "" where nothing lacks.

        The fields are those that every seed has; for a filter or judge also those that all strategies add.
        """
        return ""


class Strategy(Step, ABC):
    """Turns one seed into records, with as many requests as it likes."""

    numbers_lines: ClassVar[bool] = False
    """Whether its seeds are all lines of the file, equal ones too, each as `row` (from 1) and `line`."""

    samples: int = Field(default=1, gt=0)
    """How many times each seed is taken, with another draw of the model's each time."""
    teacher: str = "teacher"
    """Who answers: [teacher], or the NAME of a table [teachers.NAME]."""
    weight: float | None = Field(default=None, gt=0)
    """This strategy's share of [run] target, held against the sum of all weights; alike by default."""

    @property
    def askers(self) -> tuple[str, ...]:
        """The names of all who are asked."""
        return (self.teacher,)

    @property
    def several(self) -> bool:
        """Whether it asks for several samples of one prompt at once, which then go out as one request."""
        return self.samples > 1

    def needs_of(self, asker: str) -> frozenset[Capability]:
        """What the endpoint of one of its `askers` must be able to do."""
        return self.needs if asker == self.teacher else frozenset()

    @property
    def rows_per_seed(self) -> int:
        """Rows planned for one sample of one seed; what a reply doesn't yield is rejected with a reason."""
        return 1

    @property
    def adds(self) -> frozenset[str]:
        """The fields that every row has beside its seed's; filters and judges may need them."""
        return frozenset()

    @abstractmethod
    async def generate(self, seed: Seed, ask: Ask, prompts: "Prompts") -> "list[Row]":
        """At most `rows_per_seed` rows; what went wrong with one of them may stand in its place.

        Raise `Unusable` where nothing can be made of a reply.
        """


def answered(
    messages: Sequence[Message], reply: Reply, *, prompt: str, seed: Seed, replies: Sequence[Reply] = ()
) -> Record:
    """The record of a conversation that `reply` ends; it carries the seed's fields to later steps.

    `replies` are those of all requests that made the row, where there was more than the last.
    """
    made_by = replies or (reply,)
    return Record(
        messages=(*messages, {"role": "assistant", "content": reply.text.strip()}),
        seed_id=seed.id,
        prompt=prompt,
        finish_reason=reply.finish_reason,
        fields=seed.fields,
        model=reply.model,
        replies=tuple(each.key for each in made_by),
        prompt_tokens=sum(each.prompt_tokens for each in made_by),
        completion_tokens=sum(each.completion_tokens for each in made_by),
    )


def must_be_new(ask: Ask, question: str) -> None:
    """Raise `Repeated` where a question is too near an earlier one. Call it before the question is asked."""
    [repeated] = ask.repeats([question])
    if repeated is not None:
        raise repeated


class Filter(Step, ABC):
    """A free check of one record by code. It may change a row that it keeps, by `revised`."""

    blocking: ClassVar[bool] = False
    """Whether a check may take long: it then runs in a thread, and must be safe there."""

    @abstractmethod
    def check(self, record: Record) -> Verdict:
        """Keep or reject, with the reason."""

    def revised(self, record: Record) -> Record:
        """A row that it kept, as later filters and judges see it and as it is stored; by default unchanged.

        The verdict's reason says what was changed. Verifiers inside strategies only check.
        """
        return record


async def first_rejection(record: Record, checks: Iterable[Filter]) -> Verdict | None:
    """Why filters reject a record; None where all keep it."""
    said = await checked(record, checks)
    return said[-1] if said and not said[-1].keep else None


async def checked(record: Record, checks: Iterable[Filter]) -> list[Verdict]:
    """What filters say of a record, up to the first rejection; blocking ones run in threads."""
    verdicts: list[Verdict] = []
    for check in checks:
        if check.blocking:
            said = await asyncio.get_running_loop().run_in_executor(_threads(), check.check, record)
        else:
            said = check.check(record)
        verdicts.append(replace(said, by=check.name))
        if not said.keep:
            break
    return verdicts


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Where blocking filters run: one thread a core, apart from those that write files."""
    return ThreadPoolExecutor(os.cpu_count(), "filter")


def _built(checks: object) -> object:
    """The filters of a recipe's nested tables; what is no list of tables is left to pydantic to refuse."""
    if not isinstance(checks, list | tuple):
        return checks
    return tuple(build("filter", check) if isinstance(check, Mapping) else check for check in checks)


def _dumped(checks: Sequence[Filter]) -> list[object]:
    return [[check.name, check.model_dump(mode="json")] for check in checks]


Verifiers: TypeAlias = Annotated[
    tuple[InstanceOf[Filter], ...], BeforeValidator(_built), PlainSerializer(_dumped)
]
"""The field of a strategy that checks its own rows: tables such as `verify = [{ use = "maths" }]`, or
[[generate.verify]], each a filter."""


class Judge(Step, ABC):
    """A check of one record by a model."""

    @abstractmethod
    async def judge(self, record: Record, ask: Ask, prompts: "Prompts") -> Verdict:
        """Keep or reject, with score and reason. A reply without a score is a rejection, never a default."""


class Rows(Protocol):
    """What a selector reads: the rows that all before it kept, in the order of their ids within a shard."""

    folder: Path
    """Where a selector keeps what cost it time, in files named by the hash of what decides their contents."""
    digest: str
    """A hash of the rows: their files, and which of them are kept so far."""
    prompts: "Prompts"
    questions: "Sequence[Question]"
    """Those of the recipe's evaluators and of data/eval, where the selector `reads_questions`."""

    def __len__(self) -> int: ...

    def __iter__(self) -> "Iterator[RecordBatch]":
        """Batches of the selector's `columns`, anew each time; one shard is in memory at a time."""

    def ask(self, asked: Sequence[Prompt], **sampling: Unpack[Sampling]) -> list[Reply | RequestFailed]:
        """What the judge answers to each, the journal first; `TeacherError` where nobody answers."""


class Selector(Step, ABC):
    """A check of every kept record against all the others."""

    columns: ClassVar[tuple[str, ...]] = ("id", "messages")
    """The columns of the batches that `select` reads."""
    reads_questions: ClassVar[bool] = False
    """Whether `Rows.questions` are given to it, which then decide the run's name."""

    @property
    def asks(self) -> bool:
        """Whether it asks the judge."""
        return False

    def versions(self) -> dict[str, str]:
        """Hashes of the files and models that it only names, for the run's name."""
        return {}

    @abstractmethod
    def select(self, rows: Rows) -> Iterator["Selection"]:
        """One selection a row, in order."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A selector's verdict on one row; `duplicate_of` is the id of the row kept in its place."""

    verdict: Verdict
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One item of an evaluation. `kind` groups the report; `fields` is what `grade` needs."""

    id: str
    messages: list[Message]
    kind: str = ""
    fields: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Graded:
    """A system's score on one question, figures shown beside it, and what it answered or chose."""

    score: float
    details: Mapping[str, float] = field(default_factory=dict)
    answer: str = ""
    tokens: int = 0


class Evaluation(Step, ABC):
    """Questions with a score for each: what `Evaluator` and the bases in `synth.evaluators.bases` share."""

    unit: ClassVar[str] = ""
    """What a score is in; "" where it goes from 0 (wrong) to 1 (right)."""
    higher_is_better: ClassVar[bool] = True

    @property
    def known(self) -> bool:
        """Whether `questions` gives them before there is a run; else it gives none."""
        return True

    @abstractmethod
    def questions(self) -> Iterable[Question]:
        """Every question, in a fixed order."""


class Evaluator(Evaluation):
    """Questions that a model is asked, and how to grade an answer."""

    @abstractmethod
    def grade(self, question: Question, answer: str) -> float:
        """A score from 0 (wrong) to 1 (right)."""

    def details(self, question: Question, answer: str) -> Mapping[str, float]:
        """Figures from 0 to 1 beside the score: each is shown as its mean over the questions that have it."""
        return {}


BASES: dict[str, tuple[type[Step], ...]] = {
    "generate": (Strategy,),
    "filter": (Filter, Judge),
    "select": (Selector,),
    "evaluate": (Evaluator, Evaluation),
}


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or the list of what is known."""
    names = sorted(known)
    match = difflib.get_close_matches(word, names, n=1)
    return f'; did you mean "{match[0]}"?' if match else f"; known: {', '.join(names)}"


def find(table: str, use: str) -> type[Step]:
    """The class of a step of this table: `use` is a shipped name or `module:Class`.

    Raises:
        ValueError: there is none; the text is `use: what is wrong and the mend`.
    """
    path = USE[table].get(use, use)
    if ":" not in path or path[0] in ".:":
        raise ValueError(f'use: no {table} step is called "{use}"{near(use, USE[table])}')
    module, _, attribute = path.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f'use: "{use}" can\'t be imported ({error}); write "module:Class"') from error
    if not (isinstance(cls, type) and issubclass(cls, BASES[table])):
        wanted = " or ".join(base.__name__ for base in BASES[table])
        raise ValueError(f'use: "{use}" is no {wanted}; derive it from synth.{wanted}')
    return cls


def build(table: str, config: Mapping[str, Any]) -> Step:
    """The step that a recipe's `[[table]]` asks for.

    `config["use"]` is a shipped name or `module:Class`; every other key is a field of the step.

    Raises:
        ValueError: the text is `key: what is wrong and the mend`; the caller names the file.
    """
    keys = dict(config)
    use = keys.pop("use", None)
    if not isinstance(use, str):
        raise ValueError(f'use: missing; name a step, e.g. use = "{next(iter(USE[table]))}"')
    cls = find(table, use)
    try:
        return cls(**keys)
    except ValidationError as error:
        raise ValueError(first_problem(error, cls.model_fields)) from error


def first_of(error: ValidationError) -> "ErrorDetails":
    """An unknown key if there is one (a misspelt key is also a missing one), else the first problem."""
    problems = error.errors(include_url=False)
    return next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])


def first_problem(error: ValidationError, known: Iterable[str]) -> str:
    """The first problem of a pydantic error as `key: what is wrong and the mend`."""
    problem = first_of(error)
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{near(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"{key}: missing; add it"
    got = problem.get("input")
    return f"{key}: {problem['msg']}, but it is {got!r}"
