import pytest
from cases import measured
from rows import record

from synth.filters.secrets import Secrets
from synth.types import Verdict

MASK = Secrets(action="mask")
BODY = "VelvetOtterZr9kQmMapleHeron7qXw4LdPb"


def test_precision_and_recall_on_the_labelled_rows() -> None:
    precision, recall, wrong = measured("secrets")
    assert precision >= 0.96, wrong
    assert recall >= 0.96, wrong


def test_a_secret_rejects_the_row_and_is_not_told_by_the_verdict() -> None:
    row = record("It is set.", question=f"export GITHUB_TOKEN=ghp_{BODY}")
    assert Secrets().check(row) == Verdict("secrets", False, 1, "holds secret")
    assert MASK.check(row) == Verdict("secrets", True, 1, "masked secret")
    assert MASK.revised(row).question == "export GITHUB_TOKEN=[SECRET]"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:qXw4LdPb6nRs@cache.mapleworks.io/0", "redis://:[SECRET]@cache.mapleworks.io/0"),
        ('{"api_key": "Zr9kQm7xW4LdPb6nRsTyGuH1cJe", "n": 3}', '{"api_key": "[SECRET]", "n": 3}'),
        (f"Authorization: Bearer {BODY}\nAccept: */*", "Authorization: Bearer [SECRET]\nAccept: */*"),
        (f"Use sk-proj-{BODY}.", "Use [SECRET]."),
        (
            f"-----BEGIN EC PRIVATE KEY-----\n{BODY}\n{BODY}\n-----END EC PRIVATE KEY-----\nDone.",
            "[SECRET]\nDone.",
        ),
    ],
)
def test_what_is_masked_and_what_stands_around_it_stays(text: str, masked: str) -> None:
    assert MASK.revised(record(text)).answer == masked
    assert MASK.check(MASK.revised(record(text))) == Verdict("secrets", True, 0)


@pytest.mark.parametrize(
    "text",
    [
        "client_secret: hjv96mmrboitzok83eiqstiu",
        "AccessKey: sjUPMiLXDC5Z0QE/aZT8T4KlFn/3AD4Man2wxT6q",
        "password: nB2zpS9$nY1l",
        "API_TOKEN=555ef844ca0aa45ac6fc5545ffd63426",
    ],
)
def test_what_is_drawn_by_chance_is_found_where_it_is_named(text: str) -> None:
    assert not Secrets().check(record(text)).keep
    assert Secrets().check(record(text.replace(": ", " ").replace("=", " "))).keep


def test_a_key_block_that_was_cut_is_found() -> None:
    assert not Secrets().check(record(f"-----BEGIN PRIVATE KEY-----\n{BODY}\n{BODY}")).keep
