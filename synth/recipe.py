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
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from synth import steps
from synth.errors import RecipeError
from synth.types import Sampling

NOBODY = ""
"""The model of a teacher that isn't there, and that nobody asks."""
DATASET_SHARD = 8192
"""Rows of a shard where rows are not paid for."""
STEP_TABLES = ("generate", "filter", "select", "evaluate")


class Table(BaseModel):
    """A table of the recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Seeds(Table):
    """Where seeds come from."""

    path: str
    """A .jsonl, .csv or .parquet file; a document (.txt, .md, .html, .pdf, .docx) or a folder of them; a tree
    of topics (a .yaml file, or folders with `qna.yaml`); or `hub:owner/name`. docs/seeds.md shows each."""
    text: str | None = None
    """The field of the file's rows that becomes `text`, which strategies and `chunk` read."""
    rows: int | None = Field(default=None, gt=0)
    """How many seeds to use, in file order; all by default."""
    sample: int | None = Field(default=None, gt=0)
    """Make each seed of this many file rows drawn at random, as the list `examples`; `rows` of them."""
    chunk: int | None = Field(default=None, gt=0)
    """Cut each document (the field `text`) into chunks of at most so many words. Each is a seed, with its
    place in the document as `start` and `end` (characters)."""
    overlap: int = Field(default=0, ge=0)
    """Words of a chunk's end that the next one repeats at most, in whole sentences."""
    balance: str | None = None
    """A field of the seeds: [run] target is shared out evenly over its values, say a taxonomy's leaves."""

    @field_validator("overlap")
    @classmethod
    def _fits(cls, overlap: int, given: ValidationInfo) -> int:
        if overlap >= (given.data.get("chunk") or 1):
            raise ValueError("must be smaller than chunk")
        return overlap


class Role(Table):
    """A model that is asked: served here by vLLM, or anywhere with an OpenAI-compatible API."""

    model: str
    """`smollm2-135m-instruct` (ships with synth), a folder, or a Hub name."""
    endpoint: tuple[Annotated[str, Field(pattern=r"^https?://[^/]+/")], ...] = ()
    """The /v1 address of a running server, or a list of several that serve the same model; without it vLLM is
    started here and stopped afterwards."""
    api_key_env: str | None = None
    """The environment variable that holds the endpoint's key."""
    max_model_len: int = Field(default=2048, gt=0)
    """Context length of the server that is started here, in tokens."""
    replicas: int | None = Field(default=None, gt=0)
    """Servers to start here; by default one for each GPU, or for each group of GPUs that `flags` ask for."""
    flags: tuple[str, ...] = ()
    """More flags for the vLLM that is started here; `synth tune` finds good ones."""
    price_input: float | None = Field(default=None, ge=0)
    """What a million prompt tokens cost, for the account of the run."""
    price_output: float | None = Field(default=None, ge=0)
    """What a million reply tokens cost, in the same money."""
    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int | None = None
    max_tokens: int = Field(default=512, gt=0)
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    """Sent with every request. Not needed for a rerun's equal bytes, which come from the journal; vLLM's CPU
    build can't take one."""

    @field_validator("endpoint", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def sampling(self) -> Sampling:
        """What is sent with every request of this role unless a step says otherwise."""
        out: Sampling = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        if self.top_k is not None:
            out["top_k"] = self.top_k
        if self.stop:
            out["stop"] = list(self.stop)
        if self.presence_penalty:
            out["presence_penalty"] = self.presence_penalty
        if self.frequency_penalty:
            out["frequency_penalty"] = self.frequency_penalty
        if self.repetition_penalty != 1.0:
            out["repetition_penalty"] = self.repetition_penalty
        if self.seed is not None:
            out["seed"] = self.seed
        return out


class Student(Role):
    """The model that is trained and evaluated; greedy by default when it is evaluated."""

    temperature: float = Field(default=0.0, ge=0)
    teacher_prompt: str | None = None
    """A prompt file: the untrained model with this prompt is evaluated beside the student."""


class Train(Table):
    """How the student is trained: LoRA fine-tuning through TRL and PEFT."""

    epochs: float = Field(default=2.0, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    batch_size: int = Field(default=8, gt=0)
    """Rows of one optimizer step."""
    max_length: int = Field(default=1024, gt=0)
    """Tokens; a longer row is left out and counted, never cut."""
    lora_rank: int = Field(default=16, gt=0)
    lora_alpha: int = Field(default=32, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    seed: int = 0
    save_steps: int = Field(default=50, gt=0)
    """Optimizer steps between checkpoints."""


class Novelty(Table):
    """Questions that are too near an earlier one are rejected before they are answered or judged."""

    threshold: float = Field(default=0.7, gt=0, lt=1)
    """The ROUGE-L F measure (0 to 1) above which two questions are too near."""
    shared: str | None = None
    """A file of the questions of earlier runs: none of them is asked again, and this run's are added."""


class Run(Table):
    """How a run is cut up and when it gives up. `max_failed` alone decides no bytes."""

    target: int | None = Field(default=None, gt=0)
    """Kept rows, after all filters and selectors: seeds are taken again and again until there are so many."""
    candidates: float = Field(default=5.0, ge=1)
    """Rows made at most for each row of the target."""

    shard_rows: int = Field(default=512, gt=0)
    """Planned rows of one raw Parquet file."""
    max_failed: float = Field(default=0.05, ge=0, le=1)
    """The run stops when more than this share of its rows can't be asked."""
    validation: float = Field(default=0.0, ge=0, lt=1)
    """Share of the kept rows that goes into `validation-*.parquet` instead of `train-*.parquet`."""


class Recipe(Table):
    """A whole recipe, its steps built and its paths resolved."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seeds: Seeds
    teacher: Role
    judge: Role | None = None
    teachers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Role] = {}
    """More models, by the names that steps ask them by."""
    language: str = ""
    """What rows are written in, such as "German": the variable `language` of every prompt file."""
    novelty: Novelty | None = None
    student: Student | None = None
    generate: tuple[InstanceOf[steps.Strategy], ...] = Field(min_length=1)
    filter: tuple[InstanceOf[steps.Filter] | InstanceOf[steps.Judge], ...] = ()
    select: tuple[InstanceOf[steps.Selector], ...] = ()
    train: Train | None = None
    evaluate: tuple[InstanceOf[steps.Evaluator], ...] = ()
    run: Run = Run()

    file: Path
    root: Path
    text: str

    @property
    def roles(self) -> dict[str, Role]:
        """Who may be asked while rows are made, by name."""
        return {"teacher": self.teacher, "judge": self.judge or self.teacher, **self.teachers}

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
        parts: dict[str, Any] = {
            "seeds": self.seeds.model_dump(
                include={"rows", "sample", "balance"}
            ),  # chunks are in the seeds' digest
            "teacher": self.teacher.model_dump(exclude=serving),
            "judge": self.judge.model_dump(exclude=serving) if self.judge and of != "questions" else None,
            "teachers": {name: role.model_dump(exclude=serving) for name, role in self.teachers.items()},
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
    if isinstance(seeds, dict) and isinstance(seeds.get("path"), str):
        seeds["path"] = _resolve(root, seeds["path"])
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
        "run": Run,
    }
    where = steps.first_of(error)["loc"][:-1]
    table = tables.get(str(where[0]), Recipe) if where else Recipe
    return [key for key in table.model_fields if key not in ("file", "root", "text")]
