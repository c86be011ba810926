"""Everything synth raises on purpose.

    SynthError
    ├── RecipeError      exit 2   the recipe or a file that it names is wrong: file, key, mend
    ├── DataError        exit 2   a file of the run is corrupt or missing: file, mend
    ├── BusyError        exit 2   another process holds the run folder
    ├── TeacherError     exit 3   no endpoint answers, or vLLM did not start; what was paid for is safe
    ├── TrainError       exit 4   training can't go on
    ├── GateRefused      exit 4   the student did not show what [gate] asks; the old champion stays
    └── ShareFailedError exit 3   more rows failed than the recipe allows
    Unusable                      a strategy could make nothing of this seed or reply: one rejected row
    └── Repeated                  a question is too near one that was asked before
    RequestFailed                 one request can't be answered: one failed row

The last three never leave the engine. Anything else is a bug and shows a traceback.
"""

from pathlib import Path


class SynthError(Exception):
    """The base of what a user can mend. `exit_code` is the process's exit status."""

    exit_code = 1


class RecipeError(SynthError):
    """A recipe, or a file that it names, is wrong. The text is one line: file: key: what, and the mend."""

    exit_code = 2

    def __init__(self, file: Path | str, key: str, mend: str) -> None:
        self.file, self.key, self.mend = str(file), key, mend
        super().__init__(": ".join(part for part in (self.file, key, mend) if part))

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        return type(self), (self.file, self.key, self.mend)


class DataError(SynthError):
    """A file can't be read as what it should be."""

    exit_code = 2

    def __init__(self, file: Path | str, mend: str) -> None:
        self.file, self.mend = str(file), mend
        super().__init__(f"{file}: {mend}")

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        return type(self), (self.file, self.mend)


class BusyError(SynthError):
    """Another process works in the run folder."""

    exit_code = 2


class TeacherError(SynthError):
    """No endpoint of a role answers, or vLLM could not be started."""

    exit_code = 3


class ShareFailedError(SynthError):
    """More rows failed than `[run] max_failed` allows."""

    exit_code = 3


class TrainError(SynthError):
    """Training or evaluation can't go on."""

    exit_code = 4


class GateRefused(SynthError):
    """A student did not show what its recipe's [gate] asks. The champion of its name stays."""

    exit_code = 4


class Unusable(Exception):
    """A strategy could make nothing of a seed or a reply. Becomes a rejected row with this reason."""


class Repeated(Unusable):
    """A question is too near an earlier one of this run or of the index that it shares; it is not answered.

    `rouge_l` is the F measure of the two (0 to 1), `run` names the run that asked the earlier one.
    """

    def __init__(self, text: str, earlier: str, rouge_l: float, run: str) -> None:
        self.text, self.earlier, self.rouge_l, self.run = text, earlier, rouge_l, run
        super().__init__("repeats an earlier question")


class RequestFailed(Exception):
    """One request failed for good (a 4xx, or retries used up). Becomes a failed row with this reason."""
