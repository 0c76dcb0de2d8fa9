"""Define every error class of the package.

A message says what is wrong, what was found, and what to do: ``<what> … Got …; expected ….  <remedy>``.
A singular or unconverged fit is a result with flags, never an error.
"""

import logging
import re
from collections.abc import Sequence

#: The most characters of a message, and of a word in it, such as a path; the middle of a longer one, which repeats some
#: long input, is left out.
LONGEST_MESSAGE, LONGEST_WORD = 4_000, 400
KEPT_OF_WORD = 100
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")
#: Python's errors of numbers that nobody foresaw, which are the fault of one model or partition among others; numpy's
#: LinAlgError is a ValueError.
UNFORESEEN = (ArithmeticError, ValueError)


class MlmError(Exception):
    """The base class of all errors that a user can cause and correct."""

    def __init__(self, message: object = "") -> None:
        text = _LONG_WORD.sub(lambda word: f"{word[0][:KEPT_OF_WORD]}…{word[0][-KEPT_OF_WORD:]}", str(message))
        if len(text) > LONGEST_MESSAGE:
            half = LONGEST_MESSAGE // 2
            text = f"{text[:half]} [… {len(text) - 2 * half:,} characters left out …] {text[-half:]}"
        super().__init__(text)

    #: Whether the error is already logged; it may pass several `logs.about` blocks on its way out.
    logged = False
    #: The logging level of the error.
    level = logging.ERROR
    #: Whether a retry may succeed without any correction, as when a file is locked or a disk full.
    is_temporary = False


class ArgumentError(MlmError, TypeError):
    """A function has no argument of that name."""


class FormulaError(MlmError):
    """A formula, or an expression in it, is not valid.

    Attributes
    ----------
    sentence, hint
        What is wrong, and what was perhaps meant instead.
    text, position
        The formula, and where in it the error is.
    """

    #: The most characters of the text that are shown around the position of the error; no word of them is cut, as the
    #: caret would point beside it.
    longest = LONGEST_WORD - 100

    def __init__(self, message: str, text: str | None = None, position: int | None = None, hint: str = "") -> None:
        self.sentence, self.hint = message, hint
        self.text = text
        self.position = position
        message += hint
        if text is not None and position is not None:
            # spaces for line breaks, character for character, so that the caret points at the right column
            text = "".join(" " if character.isspace() else character for character in text)
            if len(text) > self.longest:
                start = max(0, min(position - self.longest // 2, len(text) - self.longest))
                shown = text[start : start + self.longest]
                before, behind = "… " if start else "", " …" if start + self.longest < len(text) else ""
                text, position = f"{before}{shown}{behind}", position - start + len(before)
            message = f"{message}\n  {text}\n  {' ' * position}^"
        super().__init__(message)


class AnalysisError(MlmError):
    """An analysis file is not valid: unknown keys, missing keys, wrong types."""


class DataError(MlmError):
    """The data do not suit the model: a missing table or column, text where numbers are needed, no variation."""

    def __init__(self, message: object = "") -> None:
        super().__init__(message)
        #: Of several models that were looked at together, by place, those with a fault of their own, by its sentence.
        self.by_model: dict[str, list[int]] = {}

    def before(self, where: str) -> "DataError":
        """The same error with what it is about before its sentences."""
        error = type(self)(f"{where}: {self}")
        error.by_model = {f"{where}: {fault}": places for fault, places in self.by_model.items()}
        return error


class NoRowsError(DataError):
    """The table, or the partition that was requested, has no rows."""

    # a day without rows is not a fault; where it ends the run, the run logs an error of its own
    level = logging.WARNING


class RowsChangedError(DataError):
    """The rows changed between two queries of one fit, so that their results do not belong together."""

    is_temporary = True


class IdentificationError(MlmError):
    """The rows cannot determine the model's parameters: one group, or as many parameters as rows."""


class StoreError(MlmError):
    """The results store cannot be opened, written or read."""


class DamagedError(StoreError):
    """The database file is damaged: parts of it cannot be read."""


class ProjectError(MlmError):
    """The current folder is not in a project, or the project cannot be loaded."""


def joined(failures: Sequence[MlmError]) -> MlmError:
    """Make one error of several: the only one where all say the same, or one with a line for each.

    The damage of a file is returned alone: the others may come from it, and a damaged database is set aside.
    """
    distinct = list({str(failure): failure for failure in failures}.values())
    damage = [failure for failure in distinct if isinstance(failure, DamagedError)]
    if damage or len(distinct) == 1:
        return (damage or distinct)[0]
    return MlmError("\n".join(map(str, distinct)))
