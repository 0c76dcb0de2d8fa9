"""Write R code that reads a data file as it was read here, with only the columns of a model."""

from __future__ import annotations

from collections.abc import Iterator

from mlm_ops.results.export.facts import ExportFacts
from mlm_ops.results.export.r_text import call, column, r_string
from mlm_ops.warehouse.files.kinds import FileKind, suffix_of
from mlm_ops.warehouse.files.reading import ChangedColumn, Reading

#: Encodings as R names them.
_ENCODINGS = {"Latin-1": "latin1", "Windows-1252": "CP1252", "utf-8-sig": "UTF-8-BOM"}
_FUNCTIONS = {
    FileKind.PARQUET: "arrow::read_parquet",
    FileKind.ARROW: "arrow::read_feather",
    FileKind.SPSS: "haven::read_sav",
    FileKind.STATA: "haven::read_dta",
    FileKind.SAS: "haven::read_sas",
    FileKind.EXCEL: "readxl::read_excel",
}
_LABELLED = frozenset({FileKind.SPSS, FileKind.STATA})


def reading_lines(facts: ExportFacts) -> Iterator[str]:
    """Read the rows, from their file or from one to be named; text that looks like numbers stays text."""
    reading = facts.reading
    if reading is None:
        yield "# DATA.csv stands for your data: write the table there, or read it here in another way"
        yield f"data <- {_delimited(facts, None)}"
        return
    path = str(reading.path)
    if reading.kind is FileKind.DELIMITED:
        yield f"data <- {_delimited(facts, reading)}"
        yield from _names(facts, reading)
    elif reading.kind is FileKind.JSON and suffix_of(path) == ".json":
        yield f"data <- as.data.frame(jsonlite::fromJSON({r_string(path)}))"
    elif reading.kind is FileKind.JSON:
        yield f"data <- jsonlite::stream_in(file({r_string(path)}))"
    elif reading.path.is_dir():
        yield f"data <- as.data.frame(arrow::Scanner$create(arrow::open_dataset({r_string(path)}))$ToTable())"
    else:
        sheet = f", sheet = {r_string(reading.sheet)}" if reading.sheet is not None else ""
        yield f"data <- as.data.frame({_FUNCTIONS[reading.kind]}({r_string(path)}{sheet}))"
    if reading.kind in _LABELLED:
        for name in facts.columns:
            if name in facts.text_columns:
                yield f"{column(name)} <- as.character(haven::as_factor({column(name)}))"
    for changed in _changed(facts, reading):
        yield from _cells(facts, changed)


def _changed(facts: ExportFacts, reading: Reading) -> list[ChangedColumn]:
    return [changed for changed in reading.changed if changed.name in facts.complete]


def _by_dec(changed: ChangedColumn) -> bool:
    """Whether R's `dec` is all that a column needs."""
    return not changed.words and not changed.thousands


def _delimited(facts: ExportFacts, reading: Reading | None) -> str:
    path = "DATA.csv" if reading is None else str(reading.path)
    changed = [] if reading is None else _changed(facts, reading)
    function = "read.delim" if path.lower().endswith((".tsv", ".tab")) else "read.csv"
    # R before 4.5 does not read zstd by itself
    source = f'pipe(paste("zstd -dc", shQuote({r_string(path)})))' if path.lower().endswith(".zst") else r_string(path)
    arguments = [source]
    if reading is not None:
        arguments += _layout(reading, "\t" if function == "read.delim" else ",")
        if any(c.decimal == "," and _by_dec(c) for c in changed):
            arguments.append('dec = ","')
    words = dict.fromkeys(("", "NA") if reading is None else reading.words)
    arguments += [f"na.strings = c({', '.join(map(r_string, words))})", "check.names = FALSE"]
    as_text = {c.name for c in changed if not _by_dec(c)} | facts.text_columns
    raw = _raw_names(reading)
    texts = ", ".join(f'{r_string(raw.get(c, c))} = "character"' for c in facts.columns if c in as_text)
    return call(function, [*arguments, *([f"colClasses = c({texts})"] if texts else [])])


def _layout(reading: Reading, delimiter: str) -> Iterator[str]:
    if reading.delimiter != delimiter:
        yield f"sep = {r_string(reading.delimiter)}"
    if reading.quote != '"':
        yield f"quote = {r_string(reading.quote)}"
    if reading.encoding != "utf-8":
        yield f"fileEncoding = {r_string(_ENCODINGS.get(reading.encoding, reading.encoding))}"
    if reading.skip:
        yield f"skip = {reading.skip}"
    if reading.comment:
        yield f"comment.char = {r_string(reading.comment)}"


def _raw_names(reading: Reading | None) -> dict[str, str]:
    """The names that the file has for columns, where a column has another one here, as the second of two x has."""
    return (
        {} if reading is None else {n: raw for n, raw in zip(reading.columns, reading.header, strict=False) if n != raw}
    )


def _names(facts: ExportFacts, reading: Reading) -> Iterator[str]:
    """Rename columns that have another name here, by their place."""
    for name in _raw_names(reading):
        if name in facts.complete:
            # R makes row names of a first column that the first line leaves out
            place = reading.columns.index(name) + 1 - (reading.row_names and reading.skips_row_names)
            yield f"names(data)[{place}] <- {r_string(name)}"


def _cells(facts: ExportFacts, changed: ChangedColumn) -> Iterator[str]:
    """Make missing values of words, and numbers of texts."""
    name = column(changed.name)
    if changed.words:
        yield f"{name}[{name} %in% c({', '.join(map(r_string, changed.words))})] <- NA"
    if _by_dec(changed) or changed.name in facts.text_columns:
        return
    value = name
    if changed.thousands:
        value = f'gsub({r_string(f"[{changed.thousands}]")}, "", {value})'
    if changed.decimal == ",":
        value = f'sub(",", ".", {value}, fixed = TRUE)'
    yield f"{name} <- as.numeric({value})"
