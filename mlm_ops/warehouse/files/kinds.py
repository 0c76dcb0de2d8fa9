"""Recognise the kinds of data files by their suffixes, and refuse other files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from mlm_ops.errors import DataError


class FileKind(StrEnum):
    """The kinds of data files, by what reads them."""

    DELIMITED = "delimited text"
    JSON = "JSON"
    PARQUET = "Parquet"
    ARROW = "Arrow"
    EXCEL = "Excel"
    SPSS = "SPSS"
    STATA = "Stata"
    SAS = "SAS"


SUFFIXES: Mapping[str, FileKind] = {
    ".csv": FileKind.DELIMITED,
    ".tsv": FileKind.DELIMITED,
    ".tab": FileKind.DELIMITED,
    ".txt": FileKind.DELIMITED,
    ".dat": FileKind.DELIMITED,
    ".json": FileKind.JSON,
    ".jsonl": FileKind.JSON,
    ".ndjson": FileKind.JSON,
    ".parquet": FileKind.PARQUET,
    ".arrow": FileKind.ARROW,
    ".feather": FileKind.ARROW,
    ".xlsx": FileKind.EXCEL,
    ".sav": FileKind.SPSS,
    ".dta": FileKind.STATA,
    ".sas7bdat": FileKind.SAS,
}
#: Delimited text and JSON may be compressed.
COMPRESSIONS = (".gz", ".zst")
_COMPRESSED = frozenset({FileKind.DELIMITED, FileKind.JSON})
DATABASE_SUFFIXES = frozenset({".duckdb", ".db", ".ddb"})
_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+://")
#: Files of data that are not read, and are no tables of a schema either.
OTHER_SUFFIXES = frozenset({".zip", ".rds", ".rda", ".rdata", ".xls", ".xlsb", ".ods", ".por", ".mat", ".xml", ".orc"})
_PATTERN = re.compile(r"[*?\[]")
#: What a SELECT of an analysis file may name, as DuckDB reads it by its name alone.
_IN_SQL = frozenset({".csv", ".tsv", ".parquet"})


def suffix_of(path: Path | str) -> str:
    """Return the suffix that says a file's kind, before that of its compression: ``.csv`` of ``a.csv.gz``."""
    path = Path(path)
    if path.suffix.lower() in COMPRESSIONS and SUFFIXES.get(Path(path.stem).suffix.lower()) in _COMPRESSED:
        return Path(path.stem).suffix.lower()
    return path.suffix.lower()


def stem_of(path: Path) -> str:
    """Return a file's name without the suffixes of its kind and its compression."""
    return Path(path.stem).stem if suffix_of(path) != path.suffix.lower() else path.stem


def is_database(path: Path | str) -> bool:
    """Whether a path has the suffix of a DuckDB file."""
    return Path(path).suffix.lower() in DATABASE_SUFFIXES


def is_data_file(path: Path | str) -> bool:
    """Whether a path has the suffix of a data file."""
    return suffix_of(path) in SUFFIXES


def is_file_of_sql(path: Path | str) -> bool:
    """Whether a path has a suffix by which a SELECT may name a data file: CSV, TSV or Parquet."""
    return suffix_of(path) in _IN_SQL


def refuse_address(data: str) -> None:
    """Refuse the address of a file elsewhere, which a path would write with one slash.

    Raises
    ------
    DataError
        With the address as it was given.
    """
    if _ADDRESS.match(data):
        raise DataError(f"Data are files of this machine. Got the address {data}; download the file, and name it here.")


def data_suffixes() -> str:
    """List the suffixes of data files for a message."""
    return ", ".join(sorted(SUFFIXES))


def kind_of_name(path: Path) -> FileKind:
    """Return the kind that a data file has by its name; a folder holds Parquet files."""
    return SUFFIXES.get(suffix_of(path), FileKind.PARQUET)


def kind_of(path: Path) -> FileKind:
    """Return the kind of a data file, or of the Parquet files of a folder.

    Raises
    ------
    DataError
        The file is missing, empty, or of an unknown kind.
    """
    if path.is_dir():
        return FileKind.PARQUET
    if not path.is_file():
        hint = ""
        if _PATTERN.search(str(path)):
            folder = next(above for above in path.parents if not _PATTERN.search(str(above)))
            hint = f" All Parquet files below a folder are read by its name, {folder}/."
        raise DataError(f"There is no file {path}.{hint}")
    suffix = suffix_of(path)
    if suffix in DATABASE_SUFFIXES:
        raise DataError(
            f"{path} is a database: give the name of a table in it, with connection=duckdb.connect({str(path)!r})."
        )
    if suffix not in SUFFIXES:
        expected = ", ".join(sorted([*SUFFIXES, *DATABASE_SUFFIXES]))
        raise DataError(
            f"{path} has a type that cannot be read. Got {suffix or 'no suffix'}; expected one of {expected}."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")
    return SUFFIXES[suffix]
