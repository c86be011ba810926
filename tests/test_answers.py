"""What an answer says in the end."""

from fractions import Fraction

import pytest

from synth.answers import fences, last_number, number, python_of, said, same_answer, unfenced


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("It is 18.", 18),
        ("#### 1,234.50", Fraction(2469, 2)),
        ("#### $18 for 3 days", 18),
        ("#### \\$18", 18),
        ("#### Step 1: look\n9 * 2 = 18\n#### Step 2: say\nThe answer is 18.", 18),
        ("#### 1. Look\n9 * 2\n#### 2. Say\nIt is 18.", 18),
        ("#### Step 2: 18", 2),
        ("The answer is 18 dollars for 3 days.", 18),
        ("The answer is 17. Wait: the answer is 18.", 18),
        ("The answer is not 17. The answer is 18.", 18),
        ("The answer is not 17, it is 18", 18),
        ("The answer to how many eggs she sells is 18. She has 2 left.", 18),
        ("**Answer:** 18 eggs", 18),
        ("**Final answer**: \\$18", 18),
        ("Answer:\n18", 18),
        ("Final answer: 2 * 9 = 18", 18),
        ("so $\\boxed{18}$ of 20", 18),
        ("\\boxed{\\frac{3}{4}}", Fraction(3, 4)),
        ("\\boxed{-\\dfrac{1}{2}}", Fraction(-1, 2)),
        ("\\boxed{1{,}200\\text{ m}}", 1200),
        ("it is 1 1/2 cups", Fraction(3, 2)),
        ("it is 1/2.", Fraction(1, 2)),
        ("it is 50%", 50),
        ("it is \u221218", -18),
        ("it fell by -$3", -3),
        ("16-3-4=9", 9),
        ("from 10-15", 15),
        ("it is .5", Fraction(1, 2)),
        ("it is 2.5 million", 2_500_000),
        ("it is 18k", 18_000),
        ("it is 18 kg", 18),
        ("it is 3e2", 300),
        ("18 cm^2", 18),
        ("18 m\u00b2", 18),
        ("\u20ac18", 18),
        ("USD 18", 18),
        ("**18**", 18),
        ("none", None),
        ("2^5", None),
        ("H2O", None),
        ("", None),
        ("The answer is unknown, not 18. It isn't 3", 18),
        ("\\boxed{x}", None),
        ("9" * 900, int("9" * 900)),
        ("9" * 5000, None),
        ("1/" + "9" * 5000, None),
        ("1e999999999", 10**30),
        ("3/0", 3),
    ],
)
def test_the_number_that_an_answer_comes_to(answer: str, value: Fraction | None) -> None:
    assert last_number(answer) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("18", 18), ("$1,234.", 1234), ("(8)", 8), ("-$3", -3), ("18 eggs", None), ("9" * 5000, None)],
)
def test_a_text_that_is_one_number(text: str, value: int | None) -> None:
    assert number(text) == value


def test_an_answer_without_a_mark_says_nothing_in_particular() -> None:
    assert said("18") is None and said("They answer the door.") is None
    assert said("Answer: B. Because of it") == "B"


def test_a_reference_may_be_a_whole_solution_or_a_text() -> None:
    assert same_answer("It is 18", "She sells 9.\n#### 18") and not same_answer("It is 9", "#### 18")
    assert same_answer("The answer is Paris.", "paris") and not same_answer("Paris or London", "Paris")


def test_blocks_are_found_by_their_fences_also_where_the_last_is_cut() -> None:
    text = "a\n```Python\nx = 1\n```\nb\n~~~\ny\n~~~\n```js\nz"
    assert fences(text) == [("python", "x = 1\n"), ("", "y\n"), ("js", "z")]
    assert python_of(text) == "x = 1\n"
    assert python_of("```\ny\n```\n```bash\nls\n```") == "y\n" and python_of("z = 1") == "z = 1"
    assert unfenced("see:\n```json\n{}\n```") == "{}" and unfenced("``` {}") == "``` {}"
