"""The data that ship: what their script makes, and copies of what the reference cases were fitted to."""

import gzip
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipelines.assets import DATA

REFERENCE = Path(__file__).parents[1] / "specification" / "reference" / "data"


def test_generated_data_are_what_the_script_makes(tmp_path: Path) -> None:
    script = tmp_path / "growth_of_t.py"
    script.write_text((DATA / "growth_of_t.py").read_text())
    subprocess.run([sys.executable, str(script)], check=True)
    assert (tmp_path / "growth_of_t.csv").read_bytes() == (DATA / "growth_of_t.csv").read_bytes()


@pytest.mark.parametrize(("name", "reference"), [
    ("hsb", "hsb.csv"),
    ("growth", "bodyweight.csv"),
    ("three_levels", "egsingle.csv"),
    ("crossed", "penicillin.csv"),
    ("contextual", "sim_luedtke.csv"),
    ("mediation_111", "sim_111.csv.gz"),
    ("mediation_211", "sim_211.csv.gz"),
    ("measurement", "demo_twolevel.csv.gz"),
])  # fmt: skip
def test_copies_are_the_reference_data(name: str, reference: str) -> None:
    content = (REFERENCE / reference).read_bytes()
    rows = pl.read_csv(gzip.decompress(content) if reference.endswith(".gz") else content)
    ours = pl.read_csv(DATA / f"{name}.csv")
    assert ours.equals(rows.select(ours.columns))


def test_every_file_is_described() -> None:
    text = (DATA / "README.md").read_text()
    for path in DATA.glob("*.csv"):
        assert f"\n# {path.name}\n" in f"\n{text}"
