"""Damaged results: blocks overwritten, files cut short, tables changed by hand; what reads them says one sentence."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from mlm_ops.cli.main import main

ANALYSIS = "analysis: a\ndata: t\nmodels: {m: y ~ x + (1 | g), n: y ~ 1 + (1 | g)}\ncompare: [n, m]\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A database after two runs, and after a checkpoint of it with more rows."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "d.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "create table t as select i % 20 as g, (i * 7 % 11)::double as x, (i * 13 % 17)::double as y "
            "from range(400) a(i)"
        )
    (folder / "a.yaml").write_text(ANALYSIS)
    for _ in range(2):
        assert main(["fit", str(folder / "a.yaml"), "--database", str(path)]) == 0
    first = path.read_bytes()
    with duckdb.connect(str(path)) as connection:
        connection.execute("insert into t select * from t")
        connection.execute("force checkpoint")
    return first, path.read_bytes()


def damaged(whole: tuple[bytes, bytes], n: int, seed: int) -> Iterator[bytes]:
    """Torn writes: a block of another content, a stretch of zeros, an end that is missing."""
    chance = random.Random(seed)
    for _ in range(n):
        content = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(content))
            size = chance.choice((1, 8, 512, 4096, 65536))
            match chance.randrange(3):
                case 0:
                    content[place : place + size] = chance.randbytes(min(size, len(content) - place))
                case 1:
                    content[place : place + size] = bytes(min(size, len(content) - place))
                case _:
                    del content[place + size :]
        yield bytes(content)


def told(content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is wrong with what `mlm show` and `mlm fit` say of a damaged database."""
    path = folder / "d.duckdb"
    wrong = []
    for command in (["show"], ["fit", str(folder / "a.yaml")]):
        path.with_suffix(".duckdb.wal").unlink(missing_ok=True)
        path.write_bytes(content)
        (folder / "a.yaml").write_text(ANALYSIS)
        try:
            status = main([*command, "--database", str(path)])
        except BaseException as error:
            wrong.append(f"{command[0]}: {type(error).__name__}: {str(error)[:300]}")
            continue
        said = capsys.readouterr().err
        if status not in (0, 2) or (status == 2 and len(said.strip().splitlines()) != 1):
            wrong.append(f"{command[0]}: {status}: {said[:300]}")
    return wrong


def test_some_damaged_stores(whole: tuple[bytes, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [fault for content in damaged(whole, 8, 1) for fault in told(content, tmp_path, capsys)] == []


@pytest.mark.fuzz
def test_damaged_stores(whole: tuple[bytes, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [fault for content in damaged(whole, 45, 2) for fault in told(content, tmp_path, capsys)] == []
