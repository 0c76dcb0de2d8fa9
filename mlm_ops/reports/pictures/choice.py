"""Choose one picture of tables by its key, and refuse in words a key, term or group that they do not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.language.spelling import did_you_mean, list_names
from mlm_ops.reports.pictures import PICTURES
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, table

#: The pictures that show findings of `diagnostics`, which take seconds where all other tables take milliseconds.
_DIAGNOSED = frozenset({"qq_rows", "qq_units", "binned", "influence"})
#: Columns that hold what pictures are of, by the option that selects it.
_COLUMNS = {"term": ("term", "predictor", "variable"), "group": ("group", "population")}
#: What no term and no grouping factor is called.
_NOTHING = "\0"

TableFunctions = Mapping[str, Callable[[], pl.DataFrame]]


class _TablesOnDemand(Mapping[str, pl.DataFrame]):
    """Tables that are drawn up when they are first looked at."""

    def __init__(self, functions: TableFunctions) -> None:
        self._functions = functions
        self._frames: dict[str, pl.DataFrame] = {}

    def __getitem__(self, name: str) -> pl.DataFrame:
        if name not in self._frames:
            self._frames[name] = self._functions[name]()
        return self._frames[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def choose_picture(
    functions: TableFunctions, key: str, selection: Selection, hints: Mapping[str, str], owner: str = "This fit"
) -> Picture:
    """The first picture of a key that is selected.

    Parameters
    ----------
    functions
        What draws up each table of one fit or analysis; called where the picture looks at it.
    key
        Of `PICTURES`.
    selection
        What the picture is to be of.
    hints
        What to do where a picture is missing, as a sentence by key.
    owner
        Whose tables these are, as the beginning of a sentence.

    Raises
    ------
    MlmError
        There is no picture of that key, or the tables have none, or none of that term or grouping factor.
    """
    if key not in PICTURES:
        raise MlmError(f"There is no picture {key!r}.{did_you_mean(key, PICTURES)} {_listing(functions, owner)}")
    if selection.pairwise and key != "caterpillar":
        raise MlmError(f"pairwise is an option of the picture caterpillar. Leave it out for {key}.")
    tables = _tables(functions, key)
    for picture in PICTURES[key](tables, selection):
        _check_options(tables, key, selection)
        return picture
    if not _has(tables, key, of_model := replace(selection, term=None, group=None)):
        if selection.model is not None and _has(tables, key, Selection()):
            listing = _listing(functions, f"The model {selection.model}", of_model)
            raise MlmError(f"The model {selection.model} has no picture {key}. {listing}")
        hint = f" {hints[key]}" if key in hints else ""
        raise MlmError(f"{owner} has no picture {key}.{hint} {_listing(functions, owner)}")
    raise MlmError(_nothing_of(tables, key, selection))


def _tables(functions: TableFunctions, key: str) -> Tables:
    """The tables that a picture looks at; not those that it would ask for the names of units alone."""
    needless = () if key in _DIAGNOSED else ("diagnostics",)
    return _TablesOnDemand({name: draw for name, draw in functions.items() if name not in needless})


def _has(tables: Tables, key: str, selection: Selection) -> bool:
    return any(True for _ in PICTURES[key](tables, selection))


def _selecting(selection: Selection, option: str, name: str | None) -> Selection:
    return replace(selection, term=name) if option == "term" else replace(selection, group=name)


def _listing(functions: TableFunctions, owner: str, selection: Selection | None = None) -> str:
    tables = _TablesOnDemand(functions)
    keys = [key for key in PICTURES if _has(tables, key, selection or Selection())]
    return f"{owner} has: {list_names(keys)}." if keys else f"{owner} has no pictures."


def _check_options(tables: Tables, key: str, selection: Selection) -> None:
    """Refuse an option that changes nothing."""
    for option in _COLUMNS:
        if getattr(selection, option) is not None and _has(tables, key, _selecting(selection, option, _NOTHING)):
            raise MlmError(f"The picture {key} is not of a single {option}. Leave out {option}.")


def _nothing_of(tables: Tables, key: str, selection: Selection) -> str:
    """The sentence for a term or grouping factor that the pictures of a key are not of."""
    for option, columns in _COLUMNS.items():
        wanted, others = getattr(selection, option), _selecting(selection, option, None)
        if wanted is None or _has(tables, key, _selecting(Selection(), option, wanted)):
            continue
        frames = [table(tables, name) for name in tables]
        names = {name for frame in frames for column in columns if column in frame for name in frame[column]} - {None}
        choices = [name for name in sorted(names) if _has(tables, key, _selecting(others, option, name))]
        return (
            f"The picture {key} has no {option} {wanted!r}.{did_you_mean(wanted, choices)} It has: "
            f"{list_names(choices)}."
        )
    return f"The picture {key} has not both, the term {selection.term!r} and the group {selection.group!r}."
