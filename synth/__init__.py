"""synth: synthetic instruction data whose every row says where it came from.

The public names below are imported when they are first used; `import synth` itself loads nothing heavy.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synth.llm.scripted import ScriptedTeacher
    from synth.pipeline import curate, evaluate, generate, open_run, train
    from synth.previews import preview
    from synth.recipe import Recipe, load_recipe
    from synth.steps import Evaluator, Filter, Judge, Rows, Selection, Selector, Strategy
    from synth.store import Dataset
    from synth.types import Message, Record, Reply, Seed, Verdict

_PUBLIC = {
    "synth.llm.scripted": ("ScriptedTeacher",),
    "synth.pipeline": ("curate", "evaluate", "generate", "open_run", "train"),
    "synth.previews": ("preview",),
    "synth.recipe": ("Recipe", "load_recipe"),
    "synth.steps": ("Evaluator", "Filter", "Judge", "Rows", "Selection", "Selector", "Strategy"),
    "synth.store": ("Dataset",),
    "synth.types": ("Message", "Record", "Reply", "Seed", "Verdict"),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [
    "Dataset",
    "Evaluator",
    "Filter",
    "Judge",
    "Message",
    "Recipe",
    "Record",
    "Reply",
    "Rows",
    "ScriptedTeacher",
    "Seed",
    "Selection",
    "Selector",
    "Strategy",
    "Verdict",
    "curate",
    "evaluate",
    "generate",
    "load_recipe",
    "open_run",
    "preview",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'synth' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_MODULES[name]), name)
    return found
