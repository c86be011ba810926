"""The steps that ship, by the names that recipes call them. Nothing is imported before it is named."""

USE: dict[str, dict[str, str]] = {
    "generate": {
        "template": "synth.strategies.template:Template",
        "self_instruct": "synth.strategies.self_instruct:SelfInstruct",
        "evol_instruct": "synth.strategies.evol_instruct:EvolInstruct",
        "rephrase": "synth.strategies.rephrase:Rephrase",
        "backtranslate": "synth.strategies.backtranslate:Backtranslate",
        "magpie": "synth.strategies.magpie:Magpie",
        "multi_turn": "synth.strategies.multi_turn:MultiTurn",
        "persona": "synth.strategies.persona:Persona",
        "grounded_qa": "synth.strategies.grounded_qa:GroundedQA",
        "limits": "synth.strategies.limits:Limits",
        "structured": "synth.strategies.structured:Structured",
        "tool_use": "synth.strategies.tool_use:ToolUse",
        "best_of_n": "synth.strategies.best_of_n:BestOfN",
        "preference": "synth.strategies.preference:Preference",
        "code": "synth.strategies.code:Code",
        "existing": "synth.strategies.existing:Existing",
    },
    "filter": {
        "truncated": "synth.filters.text:Truncated",
        "length": "synth.filters.text:Length",
        "repetition": "synth.filters.text:Repetition",
        "refusal": "synth.filters.refusal:Refusal",
        "constraint": "synth.filters.constraint:Constraint",
        "maths": "synth.filters.maths:Maths",
        "schema": "synth.filters.schema:JSONSchema",
        "regex": "synth.filters.regex:Regex",
        "choice": "synth.filters.choice:Choice",
        "code_tests": "synth.filters.code_tests:CodeTests",
        "rubric": "synth.filters.rubric:Rubric",
        "honesty": "synth.filters.honesty:Honesty",
        "pii": "synth.filters.pii:PII",
        "secrets": "synth.filters.secrets:Secrets",
        "toxicity": "synth.filters.toxicity:Toxicity",
    },
    "select": {
        "exact": "synth.selectors.exact:Exact",
        "minhash": "synth.selectors.minhash:MinHash",
        "best_of": "synth.selectors.best_of:BestOf",
    },
    "evaluate": {
        "instruction_check": "synth.evaluators.instruction_check:InstructionCheck",
        "exact_match": "synth.evaluators.exact_match:ExactMatch",
    },
}
"""The steps that ship, by recipe table and `use` name."""

NAMES = {path: name for table in USE.values() for name, path in table.items()}
