"""Every error class of the package, on one page.

A message says what was wrong, what was found, and what to do: ``<what> … Got …; expected ….  <remedy>``.
A singular or unconverged fit is a result with flags, never an error.
"""

import logging

#: Characters of a message; a longer one repeats what it was given, and its middle is left out.
LONGEST_MESSAGE = 10_000


class MlmError(Exception):
    """Base of all errors that a user can cause and mend."""

    def __init__(self, message: object = "") -> None:
        text = str(message)
        if len(text) > LONGEST_MESSAGE:
            half = LONGEST_MESSAGE // 2
            text = f"{text[:half]} [… {len(text) - 2 * half:,} characters left out …] {text[-half:]}"
        super().__init__(text)

    #: Whether the log has it already: an error passes several rooms on its way out.
    logged = False
    #: As what the log tells it.
    level = logging.ERROR


class FormulaError(MlmError):
    """A formula or an expression in it cannot be understood."""

    #: Characters of a text that are shown around the place that the error is about.
    longest = 500

    def __init__(self, message: str, text: str | None = None, position: int | None = None) -> None:
        self.text = text
        self.position = position
        if text is not None and position is not None:
            # one line, character for character, so that the caret stands where it should
            text = "".join(" " if character.isspace() else character for character in text)
            if len(text) > self.longest:
                start = max(0, min(position - self.longest // 2, len(text) - self.longest))
                shown = text[start : start + self.longest]
                before, behind = "… " if start else "", " …" if start + self.longest < len(text) else ""
                text, position = f"{before}{shown}{behind}", position - start + len(before)
            message = f"{message}\n  {text}\n  {' ' * position}^"
        super().__init__(message)


class AnalysisError(MlmError):
    """An analysis file is not one: unknown keys, missing keys, wrong types."""


class DataError(MlmError):
    """The data cannot serve the model: a missing table or column, text where numbers are needed, no variation."""

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
    """The table, or the part of it that is asked for, has no rows at all."""

    # a day on which nothing happened is no fault; a run that it ends says so itself
    level = logging.WARNING


class RowsChangedError(DataError):
    """The rows were others at the second look than at the first, so that no numbers of them belong together."""


class IdentificationError(MlmError):
    """The rows cannot determine the model's parameters: one group, or as many parameters as rows."""


class StoreError(MlmError):
    """The results store cannot be opened, written or read."""


class DamagedError(StoreError):
    """The database file is broken: parts of it cannot be read any more."""


class ProjectError(MlmError):
    """The command does not stand in a project, or the project cannot be loaded."""
