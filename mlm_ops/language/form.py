"""``form: moments`` in an analysis file: its data are moments that a warehouse made, and what needs rows is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Form = Literal["rows", "moments"]

#: Keys of an analysis, and of its models, that ask something of rows.
OF_ROWS = ("where", "partition", "weights", "residual")


def without_rows(content: Any) -> Any:
    """The content of an analysis file; one of moments has no view of predictions beside its rows.

    Raises
    ------
    ValueError
        Keys that need rows beside ``form: moments``.
    """
    if not isinstance(content, Mapping) or content.get("form") != "moments":
        return content
    wrong = [key for key in OF_ROWS if content.get(key) is not None]
    if str(content.get("predictions", "false")).lower() != "false":
        wrong.append("predictions")
    models = content.get("models")
    for name, spec in models.items() if isinstance(models, Mapping) else ():
        if isinstance(spec, Mapping) and spec.get("residual") is not None:
            wrong.append(f"models.{name}.residual")
    if wrong:
        many = len(wrong) > 1
        raise ValueError(
            f"form: moments goes without {', '.join(wrong)}, which need{'' if many else 's'} rows; leave "
            f"{'these' if many else 'it'} out, or give the rows"
        )
    return {**content, "predictions": False}
