"""Write result tables and models side by side for papers and other programs: LaTeX, Word, CSV and Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.language import options
from mlm_ops.language.options import TableFile
from mlm_ops.results import tables
from mlm_ops.results.equations.writers import symbol_in_unicode
from mlm_ops.results.export.word import check_word, write_word
from mlm_ops.results.fit import Fit
from mlm_ops.results.text import side_by_side as layout
from mlm_ops.results.text.side_by_side import SideBySide
from mlm_ops.results.text.tables import cell_table, latex_table
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.replacing import new_file

#: What the name of a file of each format ends in.
SUFFIXES: dict[str, TableFile] = {".tex": "latex", ".csv": "csv", ".parquet": "parquet", ".docx": "word"}
#: Formats with the numbers as they are; the others have them as `mlm show` prints them, to be read.
EXACT: tuple[TableFile, ...] = ("csv", "parquet")


@checked(models=options.FITS)
def side_by_side(models: Mapping[str, Fit]) -> SideBySide:
    """Set fits beside each other as papers do: terms in rows, standard errors beneath, fit at the foot.

    Parameters
    ----------
    models
        The fits by the names that stand above their columns.

    Returns
    -------
    SideBySide
        It prints, a notebook shows it, it has `text`, `markdown`, `latex` and `numbers`, and `write_table` writes it.
    """
    frames_of_fits = [tables.fit_tables(name, fit, layout.SOURCES) for name, fit in models.items()]
    return layout.side_by_side({name: pl.concat(frames[name] for frames in frames_of_fits) for name in layout.SOURCES})


@checked(table=options.TABLE, path=options.PATH)
def write_table(table: pl.DataFrame | SideBySide, path: str | Path) -> None:
    """Write a table to a file, whose ending says the format: .tex, .csv, .parquet or .docx.

    CSV and Parquet hold every digit and every column. LaTeX and Word are to be read: numbers as `print` shows them, a
    title above the rows of each model. A file that is there is replaced when the new one is whole.

    Parameters
    ----------
    table
        A result table such as ``fit.fixed_effects``, or what `side_by_side` returns.

    Raises
    ------
    MlmError
        Another ending, a folder, a table without rows for LaTeX or Word, python-docx is not installed.
    StoreError
        The file cannot be written, or is there and is of another kind.
    """
    write_file(table, path)


def write_file(table: pl.DataFrame | SideBySide, path: str | Path, notes: Sequence[str] = ()) -> None:
    """Do what `write_table` does; notes stand below a table to read."""
    file_format = format_of(path)
    if file_format == "word":
        check_word()
    paper = None if file_format in EXACT else to_read(table, notes)
    # the ending of the format alone: a link to a file of another kind is none of it
    with new_file(path, (Path(path).suffix.lower(),), "The table") as building:
        if paper is None:
            building.write_bytes(exact(table, file_format))
        elif file_format == "latex":
            building.write_text(f"{paper.latex()}\n", encoding="utf-8")
        else:
            write_word(building, paper.heading, paper.sections, paper.right, paper.notes)


def format_of(path: str | Path) -> TableFile:
    """The format that the ending of a path says.

    Raises
    ------
    MlmError
        It says none, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise MlmError(f"{path} is a folder, and a table is a file. Name a file in it, such as {path / 'table.tex'}.")
    if path.suffix.lower() not in SUFFIXES:
        endings = ", ".join(f"{suffix} ({name})" for suffix, name in SUFFIXES.items())
        raise MlmError(f"The ending of a file says how the table is written. Got {path}; expected one of {endings}.")
    return SUFFIXES[path.suffix.lower()]


def exact(table: pl.DataFrame | SideBySide, file_format: TableFile) -> bytes:
    """A table as CSV or Parquet, with every digit."""
    frame = table.numbers if isinstance(table, SideBySide) else table
    target = BytesIO()
    if file_format == "csv":
        frame.write_csv(target)
    else:
        frame.write_parquet(target)
    return target.getvalue()


@dataclass(frozen=True)
class PaperTable:
    """A table to read: words above its columns, rows below the titles of their sections, notes at the foot.

    Attributes
    ----------
    right
        For each column, whether it is aligned right.
    """

    heading: Sequence[str]
    sections: Mapping[str, Sequence[Sequence[str]]]
    right: Sequence[bool]
    notes: Sequence[str]

    def latex(self) -> str:
        """LaTeX with the rules of booktabs."""
        return latex_table(self.heading, self.sections, self.right, self.notes)


def to_read(table: pl.DataFrame | SideBySide, notes: Sequence[str] = ()) -> PaperTable:
    """A table as papers print it; one of several models has a section for each, unless each has one row.

    Raises
    ------
    MlmError
        It has no rows.
    """
    if isinstance(table, SideBySide):
        return PaperTable(table.heading, table.sections, table.right, (*table.footnotes, *notes))
    if table.is_empty():
        raise MlmError("The table has no rows, so that there is nothing to print. As .csv or .parquet it can be empty.")
    if "symbol" in table.columns:
        table = table.with_columns(pl.col("symbol").map_elements(symbol_in_unicode, pl.String))
    models = table["model"] if "model" in table.columns else pl.Series(["only"] * table.height)
    several = 1 < models.n_unique() < table.height
    cells = cell_table(
        table.drop("model") if several else table, {name: name.replace("_", " ") for name in table.columns}
    )
    sections: dict[str, list[Sequence[str]]] = {}
    for model, row in zip(models, cells.rows, strict=True):
        sections.setdefault(str(model) if several else "", []).append(row)
    return PaperTable(cells.heading, sections, cells.right, notes)
