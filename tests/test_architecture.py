"""Who may import whom, and what every file must look like. DESIGN.md says why."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEPS = {"strategies", "filters", "selectors", "student", "evaluators"}
BASE = {"types", "errors", "shipped"}
READ = BASE | {"steps", "recipe", "prompts", "store", "seeds", "chunks", "constraints", "guard"}
READ |= {"readers", "documents", "taxonomy", "sandbox", "schemas", "answers", "texts", "edits", "formats"}
READ |= {"judging", "weights", "items", "compute", "tables"}
TOP = {
    "account",
    "asking",
    "passages",
    "systems",
    "catalogue",
    "check",
    "curation",
    "diversity",
    "page",
    "quality",
    "takeover",
    "teaching",
    "annotated",
    "models",
    "previews",
    "screen",
    "tune",
    "upkeep",
    "scoring",
    "gains",
    "ablation",
    "variants",
    "gate",
    "students",
    "export",
    "report",
    "pipeline",
    "runs",
}
OUTER = {
    "account",
    "guard",
    "pipeline",
    "previews",
    "recipe",
    "report",
    "screen",
    "store",
    "tables",
    "tune",
    "upkeep",
    "edits",
}
OUTER |= {"errors", "engine", "models", "scoring", "catalogue", "page", "quality"}
OUTER |= {"gate", "students", "ablation", "gains", "commands"}
"""What the two faces of synth show; engine, models and scoring for their result types."""
MAY: dict[str, set[str]] = {
    "types": set(),
    "shipped": set(),
    "guard": set(),
    "chunks": set(),
    "jail": set(),
    "answers": set(),
    "judging": BASE,
    "weights": BASE,
    "sandbox": BASE,
    "schemas": BASE,
    "errors": set(),
    "steps": BASE,
    **dict.fromkeys(("recipe", "prompts", "store", "seeds", "constraints", "tables"), READ),
    **dict.fromkeys(("readers", "documents", "taxonomy", "texts", "edits", "formats"), READ),
    "items": READ,
    **{room: READ | {room} for room in STEPS | {"llm", "compute"}},
    "novelty": READ,
    "units": READ | {"llm", "novelty"},
    "engine": READ | {"llm", "units"},
    "targets": READ | {"llm", "units", "engine"},
    "unasked": READ | {"llm", "units", "engine"},
    **dict.fromkeys(TOP, READ | STEPS | TOP | {"llm", "engine", "novelty", "targets", "units", "unasked"}),
    **dict.fromkeys(("cli", "commands", "flows"), OUTER | {"flows"}),
    "__init__": READ | TOP | {"llm"},
}
"""The rooms of synth that each room may import; `flows` stands for that package."""
HEAVY = {"torch", "transformers", "trl", "peft"}
HEAVY_ROOMS = (
    "synth/student/",
    "synth/evaluators/",
    "synth/weights.py",
    "synth/compute/embeddings.py",
    "synth/filters/",
    "synth/selectors/",
)
CODE = sorted([*(ROOT / "synth").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
ALL = sorted([*CODE, *(ROOT / "tests").rglob("*.py")])


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room_of(module: str) -> str:
    """`synth.llm.client` is in room `llm`, `synth` itself in `__init__`, `flows.x` in `flows`."""
    parts = module.split(".")
    return "flows" if parts[0] == "flows" else parts[1] if len(parts) > 1 else "__init__"


def imports(file: Path) -> Iterator[tuple[str, bool, int]]:
    """Modules that a file imports, whether inside a function, and the line; `if TYPE_CHECKING` left out."""

    def walk(node: ast.AST, *, inside: bool) -> Iterator[tuple[str, bool, int]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from walk(other, inside=inside)
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside, node.lineno) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{name_of(file)}:{node.lineno}: relative import"
            if node.module in ("synth", "flows"):
                yield from ((f"{node.module}.{alias.name}", inside, node.lineno) for alias in node.names)
            else:
                yield (node.module, inside, node.lineno)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside=inside or function)

    yield from walk(ast.parse(file.read_text(encoding="utf-8")), inside=False)


def test_every_room_imports_only_the_rooms_that_it_may() -> None:
    wrong = []
    for file in CODE:
        own = room_of(name_of(file).removesuffix(".py").replace("/", "."))
        for module, _, line in imports(file):
            if module.split(".")[0] in ("synth", "flows") and room_of(module) not in MAY[own]:
                wrong.append(f"{name_of(file)}:{line}: {own} imports {module}")
    assert wrong == []


def test_the_command_line_imports_flows_only_inside_a_function() -> None:
    found = [inside for module, inside, _ in imports(ROOT / "synth" / "cli.py") if room_of(module) == "flows"]
    assert found and all(found)


def test_heavy_packages_stay_in_their_rooms_and_inside_functions() -> None:
    wrong = []
    for file in CODE:
        for module, inside, line in imports(file):
            package, name = module.split(".")[0], name_of(file)
            fine = {
                "prefect": name.startswith("flows/"),
                "vllm": False,
                "pandas": inside,
                "datasets": inside,
                **dict.fromkeys(HEAVY, inside and name.startswith(HEAVY_ROOMS)),
            }.get(package, True)
            if not fine:
                wrong.append(f"{name}:{line}: {module}")
    assert wrong == []


def test_importing_synth_and_its_rows_loads_nothing_heavy() -> None:
    code = (
        "import sys, synth, synth.types, synth.errors, synth.steps, synth.recipe, synth.prompts, synth.seeds;"
        "heavy = {'torch', 'vllm', 'transformers', 'trl', 'peft', 'datasets', 'pandas', 'prefect'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import synth

    assert synth.__all__ == sorted(synth.__all__)
    assert all(getattr(synth, name) is not None for name in synth.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Recipee'"):
        _ = synth.Recipee


def test_every_shipped_step_can_be_imported_and_is_what_its_table_says() -> None:
    from importlib import import_module

    from synth.shipped import USE
    from synth.steps import BASES

    for table, names in USE.items():
        for path in names.values():
            module, _, attribute = path.partition(":")
            assert issubclass(getattr(import_module(module), attribute), BASES[table])


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_a_file_has_under_400_lines(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) < 400


def test_no_handler_swallows_what_it_does_not_know() -> None:
    wrong = []
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else "everything"
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            wide = re.search(r"\bException\b", caught) or caught == "everything"
            if wide or (re.search(r"\bBaseException\b", caught) and not raises):
                wrong.append(f"{name_of(file)}:{node.lineno}: except {caught}")
    assert wrong == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    """Places of one machine (its work folder, root's home) and addresses of package registries."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    assert listed.returncode == 0, "this test reads the tracked files: run it in a git checkout"
    place = re.compile(
        rb"(?<![\w.)}])/(?:wo" + rb"rk|ro" + rb"ot)/|https?://[^\s\"']*(?:py" + rb"pi|simple/)"
    )
    wrong = []
    for name in os.fsdecode(listed.stdout).split("\0"):
        file = ROOT / name
        if name and file.is_file() and (match := place.search(file.read_bytes())):
            wrong.append(f"{name}: {match.group().decode()}")
    assert wrong == []
