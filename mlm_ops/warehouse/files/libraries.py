"""Read files that DuckDB cannot: Arrow, Excel, and those of SPSS, Stata and SAS with their value labels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from mlm_ops.errors import DataError
from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.arrow import scannable
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.files.kinds import FileKind, suffix_of
from mlm_ops.warehouse.files.reading import FileOptions

_PYREADSTAT = {FileKind.SPSS: "read_sav", FileKind.STATA: "read_dta", FileKind.SAS: "read_sas7bdat"}
#: What fastexcel calls the first column where the sheet does not name it.
_NAMELESS = "__UNNAMED__0"


def read_with_library(path: Path, kind: FileKind, options: FileOptions) -> tuple[Any, tuple[str, ...], bool]:
    """Read a file into something that DuckDB scans.

    Returns
    -------
    tuple
        The rows, remarks about what was assumed, and whether a first column without a name is left out.

    Raises
    ------
    DataError
        The library is not installed, or cannot read the file.
    """
    try:
        match kind:
            case FileKind.ARROW:
                return _arrow(path), (), False
            case FileKind.EXCEL:
                return _excel(path, options)
        return _statistics(path, kind)
    except DataError:
        raise
    except Exception as error:  # each library has errors of its own, for damaged files above all
        raise DataError(f"{path} cannot be read as {suffix_of(path)[1:]}: {first_line(error)}") from error


def _library(name: str, path: Path) -> Any:
    """Import a library of the extra ``files``.

    Raises
    ------
    DataError
        It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DataError(
            f"{path} is read with the package {name}, which is not installed. Install it with: pip install "
            "'mlm-ops[files]'"
        ) from error


def _arrow(path: Path) -> Any:
    """Read Arrow's file format, which is Feather's too, or its stream."""
    import pyarrow as pa
    from pyarrow import feather

    try:
        return feather.read_table(path)
    except pa.ArrowInvalid:
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_stream(file).read_all()


def _excel(path: Path, options: FileOptions) -> tuple[Any, tuple[str, ...], bool]:
    reader = _library("fastexcel", path).read_excel(path)
    sheets = list(reader.sheet_names)
    if options.sheet is not None and options.sheet not in sheets:
        raise DataError(f"{path} has no sheet {options.sheet!r}. Its sheets are {list_names(sheets)}.")
    sheet = sheets[0] if options.sheet is None else options.sheet
    frame: pl.DataFrame = reader.load_sheet(sheet, schema_sample_rows=None).to_polars()
    if not frame.width:
        raise DataError(f"{path} has no rows in its sheet {sheet!r}.")
    row_names = frame.columns[0] == _NAMELESS and frame.width > 1
    remarks = []
    if options.sheet is None and len(sheets) > 1:
        remarks.append(f"{sheet!r} is read, the first of {len(sheets)} sheets")
    # a column without any value has no type
    nulls = [name for name, kind in frame.schema.items() if kind == pl.Null]
    frame = frame.with_columns(pl.col(nulls).cast(pl.String))
    return scannable(frame.drop(_NAMELESS) if row_names else frame), tuple(remarks), row_names


def _statistics(path: Path, kind: FileKind) -> tuple[Any, tuple[str, ...], bool]:
    """Read a file of SPSS, Stata or SAS; values that it declares missing are missing."""
    library = _library("pyreadstat", path)
    frame, meta = getattr(library, _PYREADSTAT[kind])(str(path), output_format="polars")
    columns, partly = [], []
    for name, labels in meta.variable_value_labels.items():
        if name not in frame.columns or not labels:
            continue
        texts = _labelled(frame[name], labels)
        if texts is not None:
            columns.append(texts)
        elif set(labels) & set(frame[name].unique()):
            partly.append(name)
    remarks = []
    if columns:
        remarks.append(f"labels are the values of {list_names([c.name for c in columns])}")
    if partly:
        remarks.append(f"not all values have labels, and numbers stay, in {list_names(partly)}")
    return scannable(_whole_numbers(frame.with_columns(columns))), tuple(remarks), False


def _labelled(column: pl.Series, labels: Mapping[Any, str]) -> pl.Series | None:
    """Return the labels of a column's values; None where a value has none, or two have the same."""
    values = column.drop_nulls().unique().to_list()
    if not values or any(value not in labels for value in values):
        return None
    if len({labels[value] for value in values}) < len(values):
        return None
    return column.replace_strict({value: str(labels[value]) for value in values}, return_dtype=pl.String)


def _is_whole(column: pl.Series) -> bool:
    # 2**53: beyond it not every whole number is a double
    return bool(column.count()) and bool((column.abs() < 2**53).all()) and bool((column == column.floor()).all())


def _whole_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Make integers of the numbers that are whole in every row: these formats have one type for both.

    Units and levels are then named 1, not 1.0, as in a CSV file.
    """
    floats = [name for name, kind in frame.schema.items() if kind in (pl.Float32, pl.Float64)]
    frame = frame.with_columns(pl.col(floats).fill_nan(None))
    whole = [name for name in floats if _is_whole(frame[name])]
    return frame.with_columns(pl.col(whole).cast(pl.Int64))
