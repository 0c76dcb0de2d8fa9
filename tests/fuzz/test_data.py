"""Data: bytes of a CSV file, and columns of every type at its extremes in every role."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from tests.fuzz.check import faults

CSV = "g,x,f,y\n" + "".join(f"{i % 6},{i * 7 % 11}.5,{'ab'[i % 2]},{i * 13 % 17}\n" for i in range(48))
PIECES = [
    *(b",", b"\n", b"\r", b'"', b"'", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"NA", b"nan", b"inf", b"1e400", b"-"),
    *(b"1e-400", b";", b"\t", b"|", b"9" * 400, b"\xc3", b"2020-02-30", b"=1+1", b"\\", b"{}", b"g,g", b"x" * 3000),
]
#: SQL of values at the ends of their types, or beyond what the types around them hold.
EXTREMES = {
    "tiny": "(case when i % 2 = 0 then -128 else 127 end)::tinyint",
    "ubig": "18446744073709551615::ubigint - i::ubigint",
    "big": "(9223372036854775807 - i)::bigint",
    "huge": "(170141183460469231731687303715884105727::hugeint - i)",
    "float": "(3.4e38 * (i % 3 - 1))::float",
    "double": "1.7e308 * (i % 3 - 1)",
    "small": "5e-324 * i",
    "nan": "case when i % 5 = 0 then 'nan'::double else i end",
    "inf": "case when i % 5 = 0 then 'inf'::double else i end",
    "all nan": "'nan'::double",
    "all null": "null::double",
    "null text": "null::varchar",
    "decimal": "(99999999999999999999999999999999999999::decimal(38, 0) - i)",
    "fine decimal": "(i / 7)::decimal(38, 37)",
    "boolean": "i % 2 = 0",
    "date": "date '1970-01-01' + (i * 1000)::integer",
    "last date": "date '5881580-07-10' - i::integer",
    "infinite date": "case when i % 3 = 0 then 'infinity'::date else date '2020-01-01' end",
    "timestamp": "timestamp '290000-01-01' + to_days(i::integer)",
    "zoned": "timestamptz '2020-01-01 00:00+00' + to_hours(i)",
    "nanoseconds": "'2020-01-01'::timestamp_ns",
    "time": "time '00:00:00' + to_seconds(i)",
    "interval": "to_days(i::integer)",
    "text": "'label ' || (i % 7)",
    "long text": "repeat('x', 10000) || (i % 3)",
    "empty text": "case when i % 2 = 0 then '' else ' ' end",
    "odd text": "chr(8238) || chr(10) || (i % 3)",
    "enum": "(case when i % 2 = 0 then 'a' else 'b' end)::enum('a', 'b')",
    "uuid": "uuid()",
    "blob": "'ab'::blob",
    "bit": "'0101'::bit",
    "list": "[i, i + 1]",
    "struct": "{'a': i}",
    "map": "map {'a': i}",
    "json": "'{\"a\": 1}'::json",
    "array": "[i, i]::integer[2]",
    "union": "union_value(a := i)",
    "cast that fails late": "cast(case when i = 47 then 'x' else '1' end as integer)",
    "error in a row": "case when i = 47 then error('late') else i end",
}
ROLES = [
    "z ~ x + (1 | g)",
    "y ~ z + (1 | g)",
    "y ~ x + (1 | z)",
    "y ~ C(z) + (1 | g)",
    "y ~ within(z, g) + (1 + z | g)",
]
OPTIONS = [{"weights": "z"}, {"residual": "by(z)"}, {"residual": "ar1(z)"}, {"robust": "CR2", "cluster": "z"}]


def files(folder: Path, n: int, seed: int) -> Iterator[Path]:
    """CSV files, broken in a few places."""
    chance = random.Random(seed)
    for i in range(n):
        content = bytearray(CSV.encode())
        for _ in range(chance.randint(1, 5)):
            place = chance.randrange(len(content) + 1)
            if chance.random() < 0.3:
                del content[place : place + chance.randint(1, 60)]
            else:
                content[place:place] = chance.choice(PIECES)
        path = folder / f"{i}.csv"
        path.write_bytes(bytes(content))
        yield path


def fit_file(path: Path) -> None:
    str(mlm.fit("y ~ x + f + (1 | g)", path))


def fit_role(case: tuple[str, str, dict[str, str]]) -> None:
    kind, formula, options = case
    connection = duckdb.connect()
    connection.execute(
        "create view t as select i % 8 as g, (i * 7 % 11)::double as x, (i * 13 % 17)::double as y, "
        f"{EXTREMES[kind]} as z from range(48) a(i)"
    )
    fit = mlm.fit(formula, "t", connection=connection, **options)  # type: ignore[arg-type]
    str(fit)
    fit.predict("t", connection=connection)


def cases() -> list[tuple[str, str, dict[str, str]]]:
    roles = [(formula, {}) for formula in ROLES] + [("y ~ x + (1 | g)", option) for option in OPTIONS]
    return [(kind, formula, option) for kind in EXTREMES for formula, option in roles]


def test_some_broken_files(tmp_path: Path) -> None:
    assert faults(files(tmp_path, 12, 1), fit_file) == []


def test_some_types_at_their_extremes() -> None:
    assert faults(cases()[::19], fit_role) == []


@pytest.mark.fuzz
def test_broken_files(tmp_path: Path) -> None:
    assert faults(files(tmp_path, 400, 2), fit_file) == []


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_types_at_their_extremes() -> None:
    # every third, with another start than the slice above: all of them take two minutes
    assert faults(cases()[1::3], fit_role) == []
