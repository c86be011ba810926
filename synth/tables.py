"""The tables of a recipe: frozen, unknown keys refused. docs/recipe.md is what a user reads of them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from synth.types import Sampling


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
    top_logprobs: int | None = Field(default=None, gt=0, le=20)
    """[teacher]: keep the probabilities of so many tokens at each place of a reply, for [train] method =
    "logit_kd". Needs vLLM; 20 cost 8-15% of its throughput, and make the journal a hundred times as long."""
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
        if self.top_logprobs is not None:
            out["top_token_ids"] = self.top_logprobs
        if self.seed is not None:
            out["seed"] = self.seed
        return out


class Student(Role):
    """The model that is trained and evaluated; greedy by default when it is evaluated."""

    temperature: float = Field(default=0.0, ge=0)
    template: str | None = Field(default=None, pattern=r"^(chatml|llama3|gemma|.*\.jinja)$")
    """The chat template: `chatml`, `llama3`, `gemma`, or a .jinja file; the tokenizer's own by default."""
    teacher_prompt: str | None = None
    """A prompt file: the untrained model with this prompt is evaluated beside the student."""
    retrieval: int | None = Field(default=None, gt=0)
    """Evaluate beside the student the untrained model with so many passages of the seeds before each
    question, found by BM25."""


class Replay(Table):
    """Rows of another dataset that are mixed into the training set."""

    path: str
    """A file or folder of chat rows as `synth curate` reads them, or a run folder."""
    weight: float = Field(gt=0)
    """Rows of it for each row of the training set, drawn without repeats."""


class Train(Table):
    """How the student is trained, through TRL and PEFT."""

    method: Literal["sft", "dpo", "logit_kd", "on_policy"] = "sft"
    """On answers (sft, which on a teacher's answers is sequence-level distillation), on pairs (dpo), on the
    teacher's token probabilities kept at generation (logit_kd), or on the teacher's view of what the student
    says (on_policy)."""
    adapter: Literal["lora", "qlora", "none"] = "lora"
    """Train a LoRA adapter, one over 4-bit weights (needs a GPU), or all weights."""
    epochs: float = Field(default=2.0, gt=0)
    learning_rate: float | None = Field(default=None, gt=0)
    """By default by method, adapter and the model's size; docs/student.md has the table."""
    batch_size: int = Field(default=8, gt=0)
    """Rows of one optimizer step, over all processes; packed ones too."""
    micro_batch: int = Field(default=8, gt=0)
    """Rows of one forward pass at most. `batch_size` is cut into equal parts of so many rows; where memory is
    short they are halved by themselves, and the step stays what it is."""
    max_length: int = Field(default=1024, gt=0)
    """Tokens of a row, prompt and answers together."""
    longer: Literal["leave_out", "cut_turns"] = "leave_out"
    """What becomes of a longer row: it is left out, or loses its last turns, up to an answer that fits.
    Both are counted; no answer is ever cut."""
    packing: bool = False
    """Lay the rows of a step end to end, up to `max_length`; none of them sees another. The losses stay what
    they are without, and no time is spent on padding."""
    lora_rank: int = Field(default=16, gt=0)
    lora_alpha: int = Field(default=32, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    seed: int = 0
    save_steps: int = Field(default=50, gt=0)
    """Optimizer steps between checkpoints."""
    replay: tuple[Replay, ...] = ()
    beta: float | None = Field(default=None, ge=0)
    """dpo: how hard the student is held to its base (0.1; length-normalised 5). on_policy: from 0, the
    divergence that wants all that the teacher may say, to 1, that which wants nothing else (0.5)."""
    length_normalised: bool = False
    """dpo: divide each log-ratio by the answer's tokens, as Tulu 3."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """logit_kd: the weight of the teacher's probabilities; the rest is the loss on its words."""

    @field_validator("beta")
    @classmethod
    def _beta_of_the_method(cls, beta: float | None, given: ValidationInfo) -> float | None:
        method = given.data.get("method")
        if beta is not None and ((method == "dpo" and beta == 0) or (method == "on_policy" and beta > 1)):
            raise ValueError("must be more than 0 with dpo, and at most 1 with on_policy")
        return beta

    trainer: dict[str, JsonValue] = {}
    """[train.trainer]: anything else of the TRL trainer's own config, by its name there."""


class Novelty(Table):
    """Questions that are too near an earlier one are rejected before they are answered or judged."""

    threshold: float = Field(default=0.7, gt=0, lt=1)
    """The ROUGE-L F measure (0 to 1) above which two questions are too near."""
    shared: str | None = None
    """A file of the questions of earlier runs: none of them is asked again, and this run's are added."""


class Gate(Table):
    """What a student must show before it becomes the champion of its name."""

    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """The student's name in data/students; the recipe's by default."""
    targets: tuple[str, ...] = ()
    """Evaluations, or `evaluation/group`, on which it must be better than its base; all but the guards by
    default."""
    margin: float = Field(default=0.0, ge=0)
    """How much better: the 95% interval of the difference must lie beyond it. In the evaluation's unit, 0.02
    is two points of a share."""
    guards: dict[str, Annotated[float, Field(ge=0)]] = {}
    """[gate.guards]: evaluations on which it must not be worse, each with what it may lose, in its unit: no
    part of the 95% interval of the difference may lie beyond."""


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
