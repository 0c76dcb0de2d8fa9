"""Write the YAML of a first analysis, with comments that explain it."""

from __future__ import annotations

import functools
import json

from mlm_ops.analyses.starter.guess import Guess
from mlm_ops.language.model import Column, label
from mlm_ops.language.spelling import list_names
from mlm_ops.results.words import REPLACEMENT

#: A JSON string is a valid YAML string, whatever characters it has.
_quoted = functools.partial(json.dumps, ensure_ascii=False)


def formulas(guess: Guess) -> dict[str, str]:
    """Return the first formulas by name: the empty model, then one with the time and the predictors.

    The second is called ``growth`` with a time, ``contextual`` with parts of predictors within and between groups, and
    ``predictors`` otherwise.
    """
    y, random = _name(guess.outcome), " + ".join(f"(1 | {_name(group)})" for group in _groups(guess))
    time = [_time(guess)] if guess.time is not None else []
    parts = []
    for x in guess.varying:
        parts.append(_part("within", x, guess))
        if x not in guess.balanced:
            parts.append(_part("between", x, guess))
    others = [_name(x) for x in (*guess.constant, *guess.factors)]
    models = {"empty": f"{y} ~ 1 + {random}"}
    if time or parts or others:
        name = "growth" if time else "contextual" if set(guess.varying) - guess.balanced else "predictors"
        models[name] = f"{y} ~ {' + '.join([*time, *parts, *others])} + {random}"
    return models


def _groups(guess: Guess) -> tuple[str, ...]:
    """The grouping factors of the models, the lowest level first."""
    return guess.levels if guess.crossed is None else (*guess.levels, guess.crossed)


def _time(guess: Guess) -> str:
    assert guess.time is not None
    return f"center({_name(guess.time)})" if guess.far_from_zero else _name(guess.time)


def _part(word: str, x: str, guess: Guess) -> str:
    """Write a part of a predictor; the groups have to be named only where there are several."""
    over = f", {_name(guess.levels[0])}" if len(_groups(guess)) > 1 else ""
    return f"{word}({_name(x)}{over})"


def analysis_text(name: str, table: str, guess: Guess) -> str:
    """Return the text of the analysis file."""
    groups = ", ".join(f"{n:,} of {level}" for n, level in zip(guess.n_groups, guess.levels, strict=True))
    groups += f", and across them {guess.n_crossed:,} of {guess.crossed}" if guess.crossed is not None else ""
    models = formulas(guess)
    slope = ""
    if guess.time is not None or guess.varying:
        x = _time(guess) if guess.time is not None else _part("within", guess.varying[0], guess)
        across = f" + (1 | {_name(guess.crossed)})" if guess.crossed is not None else ""
        formula = f"{_name(guess.outcome)} ~ {x} + (1 + {x} | {_name(guess.levels[0])}){across}"
        slope = comment(f"random_slope: {_quoted(formula)}", "  # ")
    over = f", {guess.levels[0]}" if len(_groups(guess)) > 1 else ""
    within, between = f"within(x{over})", f"between(x{over})"
    lines = [
        "# A first analysis, guessed from the columns of the table. Change whatever is wrong: the outcome, the groups,",
        "# the predictors. One file is one set of rows; every model below is fitted from the same pass over them.",
        comment(f"{within}: x minus the mean of its group; {between}: the mean of the group", "#   "),
        "#   (1 | g): groups differ in level; (1 + x | g): and in the slope of x",
        "",
        f"analysis: {name}",
        comment(f"{guess.n_rows:,} rows; groups: {groups}", "# "),
        f"data: {_quoted(table)}",
        f"levels: {_quoted([_name(level) for level in guess.levels])}    # lowest first",
        "",
        *(comment(line, "# ") for line in doubts(guess)),
        *(comment(line, "# ") for line in crossing(guess)),
        "models:",
        "  # how much of the variance lies between groups?",
        *(f"  {model}: {_quoted(formula)}" for model, formula in models.items()),
        *(comment(line, "  # ") for line in left_out(guess)),
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


def doubts(guess: Guess) -> list[str]:
    """Say which columns may have been the outcome or the groups as well; nothing where none may."""
    lines = []
    if guess.other_outcomes:
        lines.append(f"The outcome might also be {list_names(guess.other_outcomes)}.")
    if guess.other_groups:
        lines.append(f"The groups might also be those of {list_names(guess.other_groups)}.")
    return lines


def crossing(guess: Guess) -> list[str]:
    """Say that a second factor lies across the levels, and how to go without it; nothing where none does."""
    if guess.crossed is None:
        return []
    crossed = _name(guess.crossed)
    return [
        f"{guess.levels[0]} and {guess.crossed} are crossed: one {guess.levels[0]} has rows of several "
        f"{guess.crossed}, and the other way round, so the models have both.",
        f"To leave {guess.crossed} out, take + (1 | {crossed}) out of every formula.",
    ]


def left_out(guess: Guess) -> list[str]:
    """Name the columns that the models leave out, with the reasons."""
    columns = list_names(f"{name} ({by})" for name, by in guess.redundant)
    lines = [f"left out, because another column determines their values: {columns}"] if columns else []
    return lines + [f"left out: {list_names(names)} ({reason})" for reason, names in guess.left_out]


def comment(text: str, mark: str) -> str:
    """Return a text as one comment line; control characters, which YAML forbids even in comments, are replaced."""
    return mark + "".join(c if c.isprintable() else REPLACEMENT for c in " ".join(text.split()))
