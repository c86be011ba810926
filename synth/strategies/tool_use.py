"""`tool_use`: dialogues in which an assistant calls a user's tools, or rightly doesn't.

After APIGen (Liu et al. 2024, arXiv 2406.18518): tools are sampled, a model writes requests and calls, and
each row passes a hierarchy of checks; and ToolACE (Liu et al. 2024, arXiv 2409.00920): a simulated tool, and
requests without a call. Here nothing is executed, so that the check of meaning is a round trip: arguments
are written first, a request from them, and the call made of the request alone must have the same arguments.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Unpack, cast

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered, must_be_new
from synth.strategies.draws import Weight
from synth.strategies.structured import parsed
from synth.strategies.tools import (
    Kind,
    Plan,
    Tool,
    arguments_of,
    calls_schema,
    function_of,
    mentions,
    numbers,
    plan,
    read_tools,
    request_form,
    required,
    returns,
    same_calls,
    values_of,
)
from synth.types import JSON, Ask, Called, Capability, Message, Record, Reply, Sampling, Seed, ToolCall

Count = Annotated[int, Field(gt=0)]
KINDS: dict[Kind, float] = {"call": 10, "parallel": 4, "no_tool": 3, "missing": 3}


class ToolUse(Strategy):
    """Draws tools of a file and writes dialogues about them, in the form that chat templates take.

    Needs an endpoint that can follow a JSON schema. Yields `per_seed` rows a sample. Kinds of rows: `call`,
    one call, the tool's reply, an answer from it; `parallel`, the same with two tools in one turn; `no_tool`,
    a request for a tool that the assistant is not given, answered without a call; `missing`, a request that
    lacks a required argument, which the assistant asks for. Requests of a row: five, eight, three and three.

    A tool's reply is invented: its row has the field `simulated`, and the ids of its calls begin with "sim".
    Other fields: the seed's, `kind`, `request`, `calls` (those that were to be asked for), and `withheld`,
    the argument left out. In `no_tool` rows the filter `honesty` checks that the answer says so.
    """

    prompts_used: ClassVar[tuple[str, ...]] = (
        "plan_prompt",
        "prompt",
        "call_prompt",
        "reply_prompt",
        "answer_prompt",
        "decline_prompt",
        "ask_prompt",
        "student_prompt",
    )

    tools: Annotated[tuple[Tool, ...], BeforeValidator(read_tools)]
    """The path of a JSON file with a list of tools, each `{"type": "function", "function": {"name",
    "description", "parameters"}}`, as OpenAI and chat templates have them. A function's `return`, a schema of
    an object, is the form of what the tool gives back."""
    kinds: dict[Kind, Weight] = Field(default=KINDS, min_length=1, validate_default=True)
    """Kinds of rows and their weights."""
    offered: tuple[Count, Count] = (2, 4)
    """The fewest and the most tools that the assistant is given, those that it calls included."""
    per_seed: int = Field(default=1, gt=0)
    """Rows of one seed, each about another tool as long as there are any."""
    guided: bool = False
    """Let a request hold its arguments, in their order, by guided decoding: for small teachers."""
    plan_prompt: str = "tool_use/plan"
    """Gets the seed's fields and `tool` (name, description, parameters); its reply is the arguments of a
    call."""
    prompt: str = "tool_use/request"
    """Gets the seed's fields and `calls` (name, description, arguments of each); its reply is what the user
    writes."""
    call_prompt: str = "tool_use/call"
    """Gets `tools` (those offered) and `request`; its reply is `{"calls": [{"name", "arguments"}]}`."""
    reply_prompt: str = "tool_use/reply"
    """Gets the seed's fields, `tool` and `arguments`; its reply is what the tool gives back."""
    answer_prompt: str = "tool_use/answer"
    """Gets `request` and `results` (name, arguments, reply of each); its reply ends the row."""
    decline_prompt: str = "tool_use/decline"
    """Gets `request` and `tools`, none of which serves it; its reply ends the row."""
    ask_prompt: str = "tool_use/ask"
    """Gets `request`, `tool` and `withheld` (the parameter's name); its reply is a question."""
    student_prompt: str = "tool_use/student"
    """Its turns begin the row. Gets the seed's fields and `request`."""

    @field_validator("kinds")
    @classmethod
    def _fits(cls, kinds: dict[Kind, float], given: ValidationInfo) -> dict[Kind, float]:
        tools: Sequence[Tool] = given.data.get("tools", ())
        if tools and len(tools) < 2 and (few := sorted({"parallel", "no_tool"} & kinds.keys())):
            raise ValueError(
                f"{' and '.join(few)} needs two tools in the file; add one, or leave the kind out"
            )
        if tools and "missing" in kinds and not any(map(required, tools)):
            raise ValueError("missing needs a tool with a required parameter; add one, or leave the kind out")
        return kinds

    @field_validator("offered")
    @classmethod
    def _ordered(cls, offered: tuple[int, int]) -> tuple[int, int]:
        if offered[0] > offered[1]:
            raise ValueError("the fewest come first")
        return offered

    @property
    def rows_per_seed(self) -> int:
        """`per_seed`."""
        return self.per_seed

    @property
    def needs(self) -> frozenset[Capability]:
        """Guided decoding by a schema, and by a regex where it is asked for."""
        return frozenset({"json_schema", "regex"} if self.guided else {"json_schema"})

    @property
    def adds(self) -> frozenset[str]:
        """What was asked for."""
        return frozenset({"request", "kind", "calls"})

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """What each prompt file is told."""
        return {
            self.plan_prompt: fields | {"tool"},
            self.prompt: fields | {"calls"},
            self.call_prompt: frozenset({"tools", "request"}),
            self.reply_prompt: fields | {"tool", "arguments"},
            self.answer_prompt: frozenset({"request", "results"}),
            self.decline_prompt: frozenset({"request", "tools"}),
            self.ask_prompt: frozenset({"request", "tool", "withheld"}),
            self.student_prompt: fields | {"request"},
        }

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """A row a plan; one that fails costs none of the others."""
        plans = [
            plan(self.tools, self.kinds, self.offered, seed.id, number) for number in range(self.per_seed)
        ]
        return list(
            await asyncio.gather(*(self._row(plans, n, seed, ask, prompts) for n in range(len(plans))))
        )

    async def _row(self, plans: Sequence[Plan], number: int, seed: Seed, ask: Ask, prompts: Prompts) -> Row:
        if plans[number] in plans[:number]:
            return Unusable("the tools drawn are those of another row of the seed")
        try:
            return await _Maker(self, seed, plans[number], ask, prompts).row()
        except (RequestFailed, Unusable) as failed:
            return failed


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes one row; `replies` gathers what it took."""

    step: ToolUse
    seed: Seed
    plan: Plan
    ask: Ask
    prompts: Prompts
    replies: list[Reply] = field(default_factory=list)

    async def row(self) -> Record:
        """A row of the plan's kind."""
        about, withheld = self.plan.about, self.plan.withheld
        calls = [await self._planned(tool) for tool in about]
        if withheld:
            told = {name: value for name, value in calls[0]["arguments"].items() if name != withheld}
            calls = [{**calls[0], "arguments": told}]
        request = await self._request(calls)
        turns: list[Message] = []
        if self.plan.kind == "no_tool":
            last = await self._asked(self.step.decline_prompt, {"request": request, "tools": self._offered()})
            _whole(last, "answer")
        elif withheld:
            last = await self._question(request, withheld)
        else:
            turns, last = await self._served(request, calls)
        return self._record(request, calls, turns, last)

    async def _planned(self, tool: Tool) -> Called:
        """The arguments that the request is to have."""
        name, schema = tool["function"]["name"], arguments_of(tool)
        if not schema["properties"]:
            return {"name": name, "arguments": {}}
        told = {**self.seed.fields, "tool": function_of(tool)}
        reply = await self._asked(self.step.plan_prompt, told, json_schema=schema)
        return {"name": name, "arguments": parsed(reply, schema)}

    async def _request(self, calls: Sequence[Called]) -> str:
        """What the user writes, every argument in it."""
        described = [
            {**call, "description": tool["function"]["description"]}
            for call, tool in zip(calls, self.plan.about, strict=True)
        ]
        told = {**self.seed.fields, "calls": described}
        values = [value for call in calls for value in values_of(call["arguments"])]
        form: Sampling = {"regex": request_form(values)} if self.step.guided and values else {}
        request = _whole(await self._asked(self.step.prompt, told, **form), "request")
        if not all(mentions(request, value) for value in values):
            raise Unusable("the request leaves out an argument that it was to have")
        must_be_new(self.ask, request)
        return request

    async def _question(self, request: str, withheld: str) -> Reply:
        """What the assistant asks for the argument that is not there."""
        told = {"request": request, "tool": function_of(self.plan.about[0]), "withheld": withheld}
        reply = await self._asked(self.step.ask_prompt, told)
        if "?" not in _whole(reply, "answer"):
            raise Unusable("the answer does not ask for what is missing")
        return reply

    async def _served(self, request: str, calls: Sequence[Called]) -> tuple[list[Message], Reply]:
        """The assistant's calls and what the tools give back; and the answer."""
        made = await self._called(request, calls)
        tools = {tool["function"]["name"]: tool for tool in self.plan.about}
        ids = [self._id(number) for number in range(len(made))]
        wanted: list[ToolCall] = [
            {"id": key, "type": "function", "function": call} for key, call in zip(ids, made, strict=True)
        ]
        turns: list[Message] = [{"role": "assistant", "content": "", "tool_calls": wanted}]
        back = [await self._back(tools[call["name"]], call) for call in made]
        for key, call, text in zip(ids, made, back, strict=True):
            turns.append({"role": "tool", "content": text, "name": call["name"], "tool_call_id": key})
        results = [{**call, "reply": text} for call, text in zip(made, back, strict=True)]
        last = await self._asked(self.step.answer_prompt, {"request": request, "results": results})
        answer = _whole(last, "answer")
        if answer.startswith(("{", "[")):
            raise Unusable("the answer is JSON")
        if not numbers(answer) <= numbers("\n".join([request, *back])):
            raise Unusable("the answer has a number that the tool did not give")
        return turns, last

    async def _called(self, request: str, calls: Sequence[Called]) -> list[Called]:
        """The calls made of the request alone, held to the schemas and to what was to be asked for."""
        schema = calls_schema(self.plan.offered, len(calls))
        told = {"request": request, "tools": self._offered()}
        reply = await self._asked(self.step.call_prompt, told, json_schema=schema, temperature=0.0)
        made = cast("list[Called]", parsed(reply, schema)["calls"])
        if sorted(call["name"] for call in made) != sorted(call["name"] for call in calls):
            raise Unusable("the call is to another tool than was asked for")
        if not same_calls(calls, made):
            raise Unusable("the call has other arguments than were asked for")
        return made

    async def _back(self, tool: Tool, call: Called) -> str:
        """What a tool gives back, invented: JSON in one line."""
        schema = returns(tool)
        told = {**self.seed.fields, "tool": function_of(tool), "arguments": call["arguments"]}
        reply = await self._asked(self.step.reply_prompt, told, json_schema=schema)
        return json.dumps(parsed(reply, schema), ensure_ascii=False)

    def _offered(self) -> list[dict[str, Any]]:
        return [function_of(tool) for tool in self.plan.offered]

    def _id(self, number: int) -> str:
        """Nine letters and digits: what every chat template takes as the id of a call."""
        content = f"{self.seed.id}:{self.replies[0].key}:{number}"
        return f"sim{hashlib.sha256(content.encode()).hexdigest()[:6]}"

    async def _asked(self, prompt: str, told: Mapping[str, object], **sampling: Unpack[Sampling]) -> Reply:
        reply = await self.ask(self.prompts.render(prompt, told), **sampling)
        self.replies.append(reply)
        return reply

    def _record(self, request: str, calls: Sequence[Called], turns: Sequence[Message], last: Reply) -> Record:
        seen = {**self.seed.fields, "request": request}
        begin = self.prompts.render(self.step.student_prompt, seen)
        version = self.prompts.file(self.step.prompt).version
        more: dict[str, JSON] = {"withheld": self.plan.withheld} if self.plan.withheld else {}
        if turns:
            more["simulated"] = True
        row = answered([*begin, *turns], last, prompt=version, seed=self.seed, replies=self.replies)
        fields = {**seen, "kind": self.plan.kind, "calls": cast(JSON, list(calls)), **more}
        return replace(row, fields=fields, tools=self.plan.offered)


def _whole(reply: Reply, what: str) -> str:
    if reply.cut:
        raise Unusable(f"the {what} was cut")
    if not (text := reply.text.strip()):
        raise Unusable(f"the {what} is empty")
    return text
