"""Detect the encoding of a text file, and rewrite files with encodings or columns that DuckDB does not read."""

from __future__ import annotations

import codecs
import gzip
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from mlm_ops.errors import DataError

#: The encodings that DuckDB reads without an extension, by Python's names.
DUCKDB_NAMES = {"utf-8": "utf-8", "iso8859-1": "latin-1", "utf-16": "utf-16"}
#: How messages call an encoding, and how R does.
SPOKEN = {"iso8859-1": "Latin-1", "cp1252": "Windows-1252", "utf-16": "UTF-16", "utf-16-be": "UTF-16"}
#: What is tried, in this order, where nothing tells the encoding: a text of the first is hardly ever one of the next.
GUESSES = ("utf-8", "iso8859-1", "cp1252")
_HEAD = 65_536
#: What a text may begin with to tell its encoding, once it is decoded.
_MARK = "\ufeff"
#: The first bytes of files that are often given a text's name; a text may begin with PAR1 too, but has no zero byte.
_SIGNATURES = (
    (b"PAR1", "a Parquet file", ".parquet"),
    (b"ARROW1\0\0", "an Arrow file", ".arrow"),
    (b"PK\x03\x04", "an Excel file or a zip archive", ".xlsx"),
    (b"\x1f\x8b", "a gzip file", ".gz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", ".zst"),
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file that may be compressed, as its suffix says."""
    match path.suffix.lower():
        case ".gz":
            return cast("IO[bytes]", gzip.open(path, "rb"))
        case ".zst":
            import pyarrow as pa  # 0.4 s, and there are few such files

            return cast("IO[bytes]", pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def head(path: Path) -> bytes:
    """Return the beginning of a text file.

    Raises
    ------
    DataError
        It cannot be read, or is not compressed as its suffix says.
    """
    try:
        with open_bytes(path) as file:
            return bytes(file.read(_HEAD))
    except (OSError, EOFError) as error:  # gzip's and Arrow's errors are of these
        reason = getattr(error, "strerror", None) or "it is not compressed as its name says"
        raise DataError(f"{path} cannot be read: {reason}.") from error


def check_text(path: Path, start: bytes) -> None:
    """Refuse a file without text, or of a kind that its first bytes tell.

    Raises
    ------
    DataError
        With what it is instead.
    """
    for signature, what, suffix in _SIGNATURES:
        if start.startswith(signature) and (b"\0" in start or not signature.isalnum()):
            raise DataError(f"{path} is no text: it begins as {what} does. Give it a name that ends in {suffix}.")
    if len(start) < _HEAD and not decoded(start, possible_encodings(start)[0]).strip():
        raise DataError(f"{path} is empty.")


def possible_encodings(start: bytes) -> tuple[str, ...]:
    """Return the encodings to try for a file that begins with these bytes: one, where its first bytes tell it."""
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return (encoding,)
    # Latin letters, digits and signs have a zero byte in UTF-16: the second of two, or the first
    even, odd = start[0:2000:2], start[1:2000:2]
    if len(odd) > 1 and odd.count(0) > len(odd) // 2:
        return ("utf-16",)
    if len(even) > 1 and even.count(0) > len(even) // 2:
        return ("utf-16-be",)
    return GUESSES


def decoded(start: bytes, encoding: str) -> str:
    """Decode the beginning of a file, without a mark of its encoding and without what its end may have cut."""
    return start.decode(encoding, errors="ignore").lstrip(_MARK)


@contextmanager
def in_utf8(path: Path, encoding: str, *, single_spaces: bool = False) -> Iterator[Path]:
    """Write a text file in UTF-8 beside other temporary files, for a block.

    Parameters
    ----------
    single_spaces
        Whether each run of blanks becomes one space, and those at both ends of a line none.

    Raises
    ------
    UnicodeError
        The file is not of this encoding.
    """
    with tempfile.TemporaryDirectory(prefix="mlm_") as folder:
        copy = Path(folder) / "rows.csv"
        with open_bytes(path) as source, copy.open("w", encoding="utf-8", newline="") as target:
            if single_spaces:
                lines = map(single_spaced, io.TextIOWrapper(source, encoding=encoding))
                target.writelines(f"{line}\n" for line in lines if line)
            else:
                reader = codecs.getreader(encoding)(source)
                target.write(reader.read(1 << 20).removeprefix(_MARK))
                while text := reader.read(1 << 20):
                    target.write(text)
        yield copy


def single_spaced(line: str) -> str:
    """A line with one space between its words, and no mark of an encoding before them."""
    return " ".join(line.removeprefix(_MARK).split())
