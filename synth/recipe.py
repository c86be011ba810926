"""The recipe: one commented TOML file that decides a run, and the key that names its folder.

Paths in a recipe are relative to the project: the nearest folder at or above the recipe that holds
`prompts/` or `pyproject.toml`, else the recipe's own folder.
"""

import hashlib
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, InstanceOf, ValidationError

from synth import steps
from synth.errors import RecipeError
from synth.tables import Gate, Novelty, Role, Run, Seeds, Student, Table, Train

NOBODY = ""
"""The model of a teacher that isn't there, and that nobody asks."""
DATASET_SHARD = 8192
"""Rows of a shard where rows are not paid for."""
STEP_TABLES = ("generate", "filter", "select", "evaluate")


class Recipe(Table):
    """A whole recipe, its steps built and its paths resolved."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seeds: Seeds
    teacher: Role
    judge: Role | None = None
    teachers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Role] = Field(default_factory=dict)
    """More models, by the names that steps ask them by."""
    language: str = ""
    """What rows are written in, such as "German": the variable `language` of every prompt file."""
    novelty: Novelty | None = None
    student: Student | None = None
    generate: tuple[InstanceOf[steps.Strategy], ...] = Field(min_length=1)
    filter: tuple[InstanceOf[steps.Filter] | InstanceOf[steps.Judge], ...] = ()
    select: tuple[InstanceOf[steps.Selector], ...] = ()
    train: Train | None = None
    gate: Gate | None = None
    evaluate: tuple[InstanceOf[steps.Evaluation], ...] = ()
    run: Run = Run()

    file: Path
    root: Path
    text: str

    @property
    def roles(self) -> dict[str, Role]:
        """Who may be asked while rows are made, by name."""
        judge = self.judge or self.teacher.model_copy(update={"top_logprobs": None})
        return {"teacher": self.teacher, "judge": judge, **self.teachers}

    @property
    def of_rows(self) -> bool:
        """Whether its rows are those of a dataset, and not made."""
        return all(strategy.numbers_lines for strategy in self.generate)

    @property
    def revises(self) -> bool:
        """Whether a filter may change what rows say."""
        return any(type(step).revised is not steps.Filter.revised for step in self.filters)

    @property
    def filters(self) -> tuple[steps.Filter, ...]:
        """The free checks, in recipe order."""
        return tuple(step for step in self.filter if isinstance(step, steps.Filter))

    @property
    def judges(self) -> tuple[steps.Judge, ...]:
        """The checks that ask a model, in recipe order; they see what the filters kept."""
        return tuple(step for step in self.filter if isinstance(step, steps.Judge))

    @property
    def steps(self) -> list[steps.Step]:
        """Every step, in recipe order."""
        return [*self.generate, *self.filter, *self.select, *self.evaluate]

    @property
    def evaluations(self) -> list[str]:
        """What the evaluations are called: by their step, with its number where several have the same."""
        names = [step.name for step in self.evaluate]
        return [f"{n}[{at}]" if names.count(n) > 1 else n for at, n in enumerate(names)]

    def key(self, versions: Mapping[str, str], of: Literal["dataset", "raw", "questions"] = "dataset") -> str:
        """Twelve hex digits that hash what decides the bytes of the dataset, of `raw/` or of what is asked.

        `versions` adds what the recipe only names: the seeds' digest, each prompt file's version, and the
        fingerprints of model folders. Endpoints, flags and training settings are left out. What selectors do
        decides `raw/` only where there is a target, and filters and judges don't decide what is asked.
        """
        deciding: list[steps.Step] = [*self.generate]
        if of != "questions":
            deciding += self.filter
        if of == "dataset" or (of == "raw" and self.run.target is not None):
            deciding += self.select
        left_out = {"max_failed"} if of == "dataset" else {"max_failed", "validation"}
        serving = {
            "endpoint",
            "api_key_env",
            "max_model_len",
            "replicas",
            "flags",
            "price_input",
            "price_output",
        }

        def deciding_of(role: Role) -> dict[str, Any]:
            return role.model_dump(exclude=serving if role.top_logprobs else serving | {"top_logprobs"})

        parts: dict[str, Any] = {
            "seeds": self.seeds.model_dump(
                include={"rows", "sample", "balance"}
            ),  # chunks are in the seeds' digest
            "teacher": deciding_of(self.teacher),
            "judge": deciding_of(self.judge) if self.judge and of != "questions" else None,
            "teachers": {name: deciding_of(role) for name, role in self.teachers.items()},
            "language": self.language,
            "novelty": self.novelty.model_dump() if self.novelty else None,
            "steps": [
                [step.name, step.model_dump(mode="json", exclude={"path", "against"})] for step in deciding
            ],
            "run": self.run.model_dump(exclude=left_out) if of != "questions" else None,
            "versions": dict(versions),
        }
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def find_root(file: Path) -> Path:
    """The project that a recipe belongs to."""
    folder = file.resolve().parent
    if folder.parent.parts[-2:] == ("data", "runs"):  # a run folder
        return folder.parents[2]
    marked = (
        up
        for up in (folder, *folder.parents)
        if (up / "prompts").is_dir() or (up / "pyproject.toml").is_file()
    )
    return next(marked, folder)


def load_recipe(
    file: Path | str, *, rows: int | None = None, change: Callable[[str], str] = lambda text: text
) -> Recipe:
    """Read, check and build a recipe. `rows` overrides `[seeds] rows`; `change` edits its text before.

    Raises:
        RecipeError: naming the file, the key and the mend. Nothing has been written.
    """
    path = Path(file)
    try:
        text = change(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            path, "", f"can't be read as a recipe ({error.__class__.__name__}); name a .toml file"
        ) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(path, "", f"is no valid TOML: {error}") from error
    root = find_root(path)
    if str(root) not in sys.path:
        sys.path.append(str(root))  # a user's own steps stand beside the recipe
    for table in STEP_TABLES:
        entries = enumerate(_entries(path, table, data))
        data[table] = [_step(path, root, table, index, entry) for index, entry in entries]
    seeds = data.get("seeds")
    if rows is not None and isinstance(seeds, dict):
        seeds["rows"] = rows
    for named, key in _named_files(data):
        named[key] = _resolve(root, named[key])
    if all(strategy.numbers_lines for strategy in data["generate"]):
        data.setdefault("teacher", {"model": NOBODY})
        data.setdefault("run", {}).setdefault("shard_rows", DATASET_SHARD)
    if reserved := {"file", "root", "text"} & data.keys():
        raise RecipeError(path, reserved.pop(), "unknown key; remove it")
    try:
        return Recipe(**data, file=path, root=root, text=text)
    except ValidationError as error:
        raise RecipeError(path, "", steps.first_problem(error, _known(error))) from error


def _entries(path: Path, table: str, data: Mapping[str, Any]) -> list[Any]:
    entries = data.get(table, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RecipeError(path, table, f"must be a list of steps; write [[{table}]], not [{table}]")
    return entries


def _step(path: Path, root: Path, table: str, index: int, entry: Mapping[str, Any]) -> steps.Step:
    config = dict(entry)
    for key in ("path", "schema", "tools"):
        if isinstance(config.get(key), str):
            config[key] = _resolve(root, config[key])
    if isinstance(against := config.get("against"), list):
        config["against"] = [_resolve(root, name) if isinstance(name, str) else name for name in against]
    try:
        return steps.build(table, config)
    except ValueError as error:
        raise RecipeError(path, f"{table}[{index}]", str(error)) from error


def _named_files(data: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The tables, steps apart, that name files, with the key: seeds, the student's template, replay sets."""
    student, train = data.get("student"), data.get("train")
    replay = train.get("replay") if isinstance(train, dict) else None
    tables = [data.get("seeds"), *(replay if isinstance(replay, list) else ())]
    named = [(table, "path") for table in tables if isinstance(table, dict)]
    if isinstance(student, dict) and str(student.get("template")).endswith(".jinja"):
        named.append((student, "template"))
    return [(table, key) for table, key in named if isinstance(table.get(key), str)]


def _resolve(root: Path, name: str) -> str:
    return name if name.startswith("hub:") else str(root / name)


def _known(error: ValidationError) -> list[str]:
    """The keys that the table in which `error` lies knows."""
    tables: dict[str, Any] = {
        "seeds": Seeds,
        **dict.fromkeys(("teacher", "judge", "teachers"), Role),
        "novelty": Novelty,
        "student": Student,
        "train": Train,
        "gate": Gate,
        "run": Run,
    }
    where = steps.first_of(error)["loc"][:-1]
    table = tables.get(str(where[0]), Recipe) if where else Recipe
    return [key for key in table.model_fields if key not in ("file", "root", "text")]
