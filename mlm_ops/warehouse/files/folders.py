"""Read the Parquet files of a folder, whose folders may be named for a column and its value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mlm_ops.errors import DataError
from mlm_ops.warehouse.sql import file_literal, file_pattern, identifier, literal

_KEY = re.compile(r"([^=]+)=.*")


def is_parquet_folder(path: Path | str) -> bool:
    """Whether a path is a folder with a Parquet file in it, or in a folder of it."""
    try:
        return Path(path).is_dir() and next(Path(path).rglob("*.parquet"), None) is not None
    except (OSError, ValueError):
        return False


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder and of the folders in it, in order."""
    return sorted(file for file in folder.rglob("*.parquet") if file.is_file())


def parquet_folder(path: Path, place: str | None = None) -> str:
    """Return the text after FROM of all Parquet files below a folder; ``k=1/a.parquet`` has the column k.

    Parameters
    ----------
    place
        Where the folder is from another one: the files are then those that stand there when they are read.

    Raises
    ------
    DataError
        There is none, or a link leads out of the folder.
    """
    folder = path.resolve()
    inside = parquet_files(path)
    if not inside:
        raise DataError(f"{path} is a folder without Parquet files. Name a file in it.")
    files = [file.resolve() for file in inside]
    if stray := next((file for file, real in zip(inside, files, strict=True) if folder not in real.parents), None):
        raise DataError(f"{stray} leads out of the folder {path}. Move the file into it.")
    keys = _keys(part for file in files for part in file.relative_to(folder).parts[:-1])
    listed = f"[{', '.join(map(file_literal, files))}]"
    if place is not None:
        listed, folder = literal(f"{file_pattern(place)}/**/*.parquet"), Path(place)
    reader = f"read_parquet({listed}, hive_partitioning = {'true' if keys else 'false'}, union_by_name = true)"
    # the names of the folders above are none of the data's
    above = [key for key in _keys(folder.parts) if key not in keys] if keys else []
    return f"(from {reader} select * exclude ({', '.join(map(identifier, above))}))" if above else reader


def _keys(parts: Iterable[str]) -> dict[str, None]:
    return {match[1]: None for part in parts if (match := _KEY.fullmatch(part))}
