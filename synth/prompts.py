"""Prompt files: sandboxed Jinja in which each block is a chat turn.

    {% block system %}You are terse.{% endblock %}
    {% block user %}{{ question }}{% endblock %}

A block's role is its name up to the first underscore (`user_1`, `assistant_1`, `user_2`); turns come in file
order, a turn that renders empty is left out. A file without blocks is one user turn. Variables are the
seed's fields and the recipe's `language`; one that is not there is an error, never an empty string.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    meta,
    nodes,
)
from jinja2.sandbox import SandboxedEnvironment

from synth.errors import RecipeError, Unusable
from synth.types import Message, Role

SHIPPED = (Path(__file__).parent / "_prompts", Path(__file__).parent.parent / "prompts")
SUFFIX = ".jinja"
LANGUAGE = "language"
"""A variable that every prompt file has: the recipe's `language`, or "" where it names none."""


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A parsed prompt file. `version` is `name@` and eight hex digits of what it and its includes say."""

    name: str
    version: str
    variables: frozenset[str]
    turns: tuple[tuple[Role, str], ...]
    template: Template
    built_in: Mapping[str, object]
    """Jinja's own names, such as `range`."""


class Prompts:
    """The prompt files of a project: its own `prompts/` first, then those that ship with synth."""

    def __init__(self, root: Path, language: str = "") -> None:
        self.language = language
        self.folders = [folder for folder in (root / "prompts", *SHIPPED) if folder.is_dir()]
        self._files: dict[str, PromptFile] = {}

    @cached_property
    def _environment(self) -> Environment:
        return SandboxedEnvironment(
            loader=FileSystemLoader(self.folders),
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def file(self, name: str) -> PromptFile:
        """The prompt file `prompts/<name>.jinja`.

        Raises:
            RecipeError: there is none, it is no valid Jinja, or a block is named after no role.
        """
        if name not in self._files:
            self._files[name] = self._parse(name)
        return self._files[name]

    def render(self, name: str, fields: Mapping[str, object]) -> list[Message]:
        """The chat turns of prompt `name` with a seed's `fields`.

        Raises:
            Unusable: the seed lacks a variable, or with its values the template fails or says nothing.
        """
        prompt = self.file(name)
        given = {**prompt.built_in, LANGUAGE: self.language, **fields}
        context = prompt.template.new_context(given, shared=True)
        messages: list[Message] = []
        try:
            # what a file sets above its blocks is seen in them
            whole = "".join(prompt.template.root_render_func(context))
            for role, block in prompt.turns:
                text = "".join(prompt.template.blocks[block](context)) if block else whole
                if text := text.strip():
                    messages.append({"role": role, "content": text})
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise Unusable(f"prompt {name} can't be filled: {error}") from error
        if not messages:
            raise Unusable(f"prompt {name} is empty with this seed")
        return messages

    def _parse(self, name: str) -> PromptFile:
        file = f"prompts/{name}{SUFFIX}"
        try:
            source, variables, turns = self._read(name + SUFFIX, set())
            template = self._environment.get_template(name + SUFFIX)
        except TemplateNotFound as error:
            if error.name == name + SUFFIX:
                raise RecipeError(
                    file, "", "no such prompt file; write it, or correct its name in the recipe"
                ) from error
            raise RecipeError(file, "", f"includes {error.name}, which is not there; write it") from error
        except TemplateError as error:
            line = getattr(error, "lineno", "?")
            raise RecipeError(file, f"line {line}", f"is no valid Jinja: {error}") from error
        except UnicodeDecodeError as error:
            raise RecipeError(file, "", f"is no UTF-8 text ({error.reason}); convert it") from error
        roles: list[tuple[Role, str]] = []
        for block in turns:
            role = block.partition("_")[0]
            if role not in get_args(Role):
                raise RecipeError(
                    file, f"block {block}", f"names no role; begin it with one of {', '.join(get_args(Role))}"
                )
            roles.append((cast(Role, role), block))
        version = f"{name}@{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        return PromptFile(
            name,
            version,
            frozenset(variables - {LANGUAGE}),
            tuple(roles or [("user", "")]),
            template,
            dict(template.globals),
        )

    def _read(self, name: str, seen: set[str]) -> tuple[str, set[str], list[str]]:
        """Source (with that of all includes), undeclared variables and top-level block names of a file."""
        seen.add(name)
        source, path, _ = cast(FileSystemLoader, self._environment.loader).get_source(self._environment, name)
        tree = self._environment.parse(source, name, path)
        assigned = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
        assigned |= {macro.name for macro in tree.find_all(nodes.Macro)}
        for imported in tree.find_all(nodes.FromImport):
            assigned |= {name if isinstance(name, str) else name[1] for name in imported.names}
        variables = meta.find_undeclared_variables(tree) - assigned
        blocks = [node.name for node in sorted(tree.find_all(nodes.Block), key=lambda node: node.lineno)]
        for other in meta.find_referenced_templates(tree):
            if other is not None and other not in seen:
                more, undeclared, _ = self._read(other, seen)
                source, variables = f"{source}\0{more}", variables | undeclared
        return source, variables, blocks
