"""Which decimal sign a column has: what its own cells can be decides, then other columns if they agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlm_ops as mlm
from mlm_ops.warehouse.files.read import plan_file, read_file


def read(path: Path, text: str) -> tuple[dict[str, list[Any]], str]:
    """Write a file, and return its columns as they are read, and what was assumed; SQL reads it in the same way."""
    path.write_text(text, encoding="utf-8")
    connection, reading = read_file(path, "t")
    frame = connection.sql("from t").pl()
    relation = plan_file(path).relation
    assert connection.sql(f"from {relation}").fetchall() == connection.sql("from t").fetchall()
    return frame.to_dict(as_series=False), reading.assumptions


MIXED = "; separates, , is the decimal sign of b and . that of y"


@pytest.mark.parametrize("cell", ["0.370", "-0.663", "12.5", "1234.500"])
def test_no_group_of_thousands_begins_with_zero(cell: str, tmp_path: Path) -> None:
    columns, told = read(tmp_path / "a.csv", f"team;y;x;b\nt0;5.09;{cell};5,4\nt1;4.11;1.250;3,75\n")
    assert columns == {"team": ["t0", "t1"], "y": [5.09, 4.11], "x": [float(cell), 1.25], "b": [5.4, 3.75]}
    assert told == f"{MIXED}, x"


def test_commas_separate_too(tmp_path: Path) -> None:
    columns, _ = read(tmp_path / "a.csv", 'y,x,b\n5.09,-0.663,"0,5"\n4.11,1.250,"1,25"\n')
    assert columns == {"y": [5.09, 4.11], "x": [-0.663, 1.25], "b": [0.5, 1.25]}


def test_leading_zeros_are_no_thousands(tmp_path: Path) -> None:
    columns, _ = read(tmp_path / "a.csv", "x;b\n00.123;5,4\n00.250;3,75\n")
    assert columns == {"x": ["00.123", "00.250"], "b": [5.4, 3.75]}


@pytest.mark.parametrize("cells", [("1.234", "2.500"), ("1,234", "2,500"), ("1,000", "12,000")])
def test_columns_that_contradict_each_other_decide_nothing(cells: tuple[str, str], tmp_path: Path) -> None:
    columns, told = read(tmp_path / "a.csv", f"y;x;b\n2.34;{cells[0]};5,4\n3.25;{cells[1]};3,75\n")
    assert columns == {"y": [2.34, 3.25], "x": list(cells), "b": [5.4, 3.75]}
    assert told == (
        f"{MIXED}; numbers such as 1,234 may have a decimal comma or a thousand in x, which stays text, as others have "
        "either sign: give a frame or a SELECT"
    )


def test_a_delimiter_is_no_evidence_against_a_point(tmp_path: Path) -> None:
    """Of 1,234 the semicolon says 1.234, and then 5.678 were 5678."""
    columns, told = read(tmp_path / "a.csv", "x;z\n1,234;5.678\n2,345;6.789\n")
    assert columns == {"x": ["1,234", "2,345"], "z": ["5.678", "6.789"]}
    assert "in x, z, which stay text: say which with options" in told


def test_a_fit_notes_a_sign_that_other_columns_contradict(tmp_path: Path) -> None:
    lines = [f"t{i % 9};{i * 7 % 31}.25;{i * 5 % 17},5;{i}" for i in range(90)]
    (tmp_path / "a.csv").write_text("\n".join(["team;y;b;k", *lines]) + "\n")
    note = "as the file was read, , is the decimal sign of b and . that of y"
    assert note in mlm.fit("y ~ b + (1 | team)", tmp_path / "a.csv").notes
    assert note in mlm.fit("k ~ b + (1 | team)", tmp_path / "a.csv").notes
    assert note not in mlm.fit("y ~ k + (1 | team)", tmp_path / "a.csv").notes


def written(value: int, places: int, sign: str, *, groups: bool) -> str:
    """Write value / 10**places with a sign, and groups of thousands by the other sign."""
    digits = f"{abs(value) / 10**places:{',' if groups else ''}.{places}f}"
    return ("-" if value < 0 else "") + (digits if sign == "." else digits.translate({44: 46, 46: 44}))


_COLUMN = st.fixed_dictionaries(
    {
        "sign": st.sampled_from([".", ","]),
        "places": st.integers(0, 4),
        "groups": st.booleans(),
        "values": st.lists(st.integers(-(10**8), 10**8), min_size=3, max_size=3),
    }
)


@given(columns=st.lists(_COLUMN, min_size=1, max_size=5), delimiter=st.sampled_from([",", ";", "\t"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_come_back_or_stay_text(columns: list[dict[str, Any]], delimiter: str, tmp_path: Path) -> None:
    """Whichever sign each column is written with, where one column of each sign in the file is certain."""
    signs = {column["sign"] for column in columns}
    certain = [{"sign": sign, "places": 1, "groups": False, "values": [15, -25, 35]} for sign in signs]
    columns = [*certain, *columns]
    cells = [[written(v, c["places"], c["sign"], groups=c["groups"]) for v in c["values"]] for c in columns]
    lines = [delimiter.join(["g", *(f"x{i}" for i, _ in enumerate(columns))])]
    rows = [["a", *(f'"{cell}"' if delimiter in cell else cell for cell in row)] for row in zip(*cells, strict=True)]
    lines += map(delimiter.join, rows)
    found, told = read(tmp_path / "a.csv", "\n".join(lines) + "\n")
    for i, column in enumerate(columns):
        read_cells = found[f"x{i}"]
        if read_cells == cells[i]:
            assert len(signs) == 2, told
            assert f"x{i}" in told
        else:
            assert read_cells == [v / 10 ** column["places"] for v in column["values"]]


def test_the_missing_word_of_postgres(tmp_path: Path) -> None:
    columns, told = read(tmp_path / "a.csv", "g,x\na,1.5\nb,\\N\nc,2.5\n")
    assert columns == {"g": ["a", "b", "c"], "x": [1.5, None, 2.5]}
    assert told == r"'\N' is missing: 1 of 3 cells of x"
