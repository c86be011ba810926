"""The teacher's tokenizer: probabilities by token id mean nothing where the student's ids are others."""

from pathlib import Path
from typing import TYPE_CHECKING

from synth.errors import TrainError
from synth.student.checkpoint import digest_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def teachers_tokenizer(
    name: Path | str | None, student: "PreTrainedTokenizerBase"
) -> "PreTrainedTokenizerBase":
    """The teacher's tokenizer, whose tokens all have the ids that the student's have.

    Raises:
        TrainError: it can't be read, or its tokens are not the student's.
    """
    from transformers import AutoTokenizer

    if name is None:
        raise TrainError("the teacher's tokenizer is not known; train from a run's recipe")
    try:
        teacher = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise TrainError(
            f"[teacher] model: the tokenizer of {name} can't be read ({str(error).splitlines()[0]}); "
            'name its folder or its Hub name, or train with method = "sft"'
        ) from error
    hashes = [digest_of(each.get_vocab())[:12] for each in (teacher, student)]
    if hashes[0] != hashes[1]:
        raise TrainError(
            f"[train] method: the tokens of the teacher {Path(name).name} ({len(teacher):,}, {hashes[0]}) "
            f"are not the student's ({len(student):,}, {hashes[1]}): probabilities can't be compared; take a "
            'student of the teacher\'s family, or method = "sft"'
        )
    return teacher
