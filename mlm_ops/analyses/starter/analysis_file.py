"""Write the YAML of a first analysis, with comments that explain it."""

from __future__ import annotations

import functools
import json

from mlm_ops.analyses.starter.guess import Guess
from mlm_ops.language.model import Column, label
from mlm_ops.results.words import REPLACEMENT

#: A JSON string is a valid YAML string, whatever characters it has.
_quoted = functools.partial(json.dumps, ensure_ascii=False)

#: The name of the model that has predictors.
PREDICTORS = "predictors"


def formulas(guess: Guess) -> dict[str, str]:
    """Return the first formulas by name: the empty model, then one with predictors within and between groups."""
    y, random = _name(guess.outcome), " + ".join(f"(1 | {_name(level)})" for level in guess.levels)
    lowest = guess.levels[0]
    within = []
    for x in guess.varying:
        within.append(f"within({_name(x)}, {_name(lowest)})")
        if x not in guess.balanced:
            within.append(f"between({_name(x)}, {_name(lowest)})")
    others = [_name(x) for x in (*guess.constant, *guess.factors)]
    models = {"empty": f"{y} ~ 1 + {random}"}
    if within or others:
        models[PREDICTORS] = f"{y} ~ {' + '.join([*within, *others])} + {random}"
    return models


def analysis_text(name: str, table: str, guess: Guess) -> str:
    """Return the text of the analysis file."""
    groups = ", ".join(f"{n:,} of {level}" for n, level in zip(guess.n_groups, guess.levels, strict=True))
    models = formulas(guess)
    slope = ""
    if guess.varying:
        x, lowest = f"within({_name(guess.varying[0])}, {_name(guess.levels[0])})", _name(guess.levels[0])
        slope = comment(f"random_slope: {_quoted(f'{_name(guess.outcome)} ~ {x} + (1 + {x} | {lowest})')}", "  # ")
    lines = [
        "# A first analysis, guessed from the columns of the table. Change whatever is wrong: the outcome, the groups,",
        "# the predictors. One file is one set of rows; every model below is fitted from the same pass over them.",
        "#   within(x, g)    x minus the mean of its group g        between(x, g)    the mean of the group",
        "#   (1 | g)         groups differ in level                 (1 + x | g)      and in the slope of x",
        "",
        f"analysis: {name}",
        comment(f"{guess.n_rows:,} rows; groups: {groups}", "# "),
        f"data: {_quoted(table)}",
        f"levels: {_quoted([_name(level) for level in guess.levels])}    # lowest first",
        "",
        "models:",
        "  # how much of the variance lies between groups?",
        *(f"  {model}: {_quoted(formula)}" for model, formula in models.items()),
        *([f"  {comment(redundant_columns(guess), '# ')}"] if guess.redundant else []),
        *(["  # does the slope differ between groups? Take the # away to see."] if slope else []),
        *([slope] if slope else []),
        *(["", f"compare: [{', '.join(models)}]"] if len(models) > 1 else []),
        "",
        "# min_publish_n: 10           # groups of fewer rows are named in no published table",
        "# history: {keep_runs: 100}   # older runs are removed; without it all are kept",
        "",
    ]
    return "\n".join(lines)


def _name(column: str) -> str:
    return label(Column(column))


def redundant_columns(guess: Guess) -> str:
    """Name the columns that were left out because another column has the same information; empty if there are none."""
    columns = ", ".join(f"{name} ({by})" for name, by in guess.redundant)
    return f"left out, as another column tells their values: {columns}" if columns else ""


def comment(text: str, mark: str) -> str:
    """Return a text as one comment line; control characters, which YAML forbids even in comments, are replaced."""
    return mark + "".join(c if c.isprintable() else REPLACEMENT for c in " ".join(text.split()))
