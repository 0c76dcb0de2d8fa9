"""The dbt project on Spark, built once, and the rows that it is built from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DBT = ROOT / "sql" / "integration_tests"
#: A column's name.
ODD = "a \"b\";c `d` 'e' \\"


@dataclass(frozen=True)
class Built:
    """Tables that Spark has made, the rows that it made them of, and how dbt's nodes ended."""

    folder: Path
    rows: pl.DataFrame
    statuses: dict[str, str]

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "out" / name / "*.parquet")


def students() -> pl.DataFrame:
    """High School & Beyond with gaps of every kind, and a column whose name needs quotes of every kind."""
    rows = pl.read_csv(ROOT / "tests" / "specification" / "reference" / "data" / "hsb.csv").with_row_index("row")
    odd = pl.col("minority") + 0.25 * pl.col("female") + 1000

    def gap(column: str, *places: int) -> pl.Expr:
        return pl.when(pl.col("row").is_in(places)).then(None).otherwise(pl.col(column)).alias(column)

    return rows.with_columns(
        pl.when(pl.col("row").is_in([5, 500])).then(float("nan")).otherwise(pl.col("ses")).alias("ses"),
        pl.when(pl.col("row") == 700).then(float("nan")).when(pl.col("row") != 800).then(odd).alias(ODD),
        gap("mathach", 7),
        gap("sector", 9, 5000),
        gap("school", 11),
        gap("size", 6000),
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("spark")
    shutil.copytree(HERE / "project", folder, dirs_exist_ok=True)
    for model in ("three_levels_centered", "bad_students"):
        shutil.copy(DBT / "models" / f"{model}.sql", folder / "models")
    # Parquet, as dbt-spark's seeds turn nulls into empty texts
    rows = students()
    tables = {name: pl.read_csv(DBT / "seeds" / f"{name}.csv") for name in ("three_levels", "hostile_rows")}
    for name, table in (tables | {"students": rows}).items():
        table.write_parquet(folder / f"{name}.parquet")
        model = f"select * from parquet.`{{{{ env_var('MLM_ROWS') }}}}/{name}.parquet`\n"
        (folder / "models" / f"{name}.sql").write_text(model, encoding="utf-8")
    environment = os.environ | {
        "MLM_PACKAGE": str(ROOT / "sql"),
        "MLM_ROWS": str(folder),
        "DBT_PROFILES_DIR": str(folder),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "HOME": str(folder),
        "MLM_ODD": ODD,
    }
    process = subprocess.run(
        [sys.executable, str(HERE / "build.py"), str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    statuses = json.loads((folder / "statuses.json").read_text(encoding="utf-8"))
    return Built(folder, rows, statuses)
