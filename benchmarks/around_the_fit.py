"""What stands around a fit: commands, analyses, SQL, predictions, diagnostics and files, each against a yardstick.

    uv run python benchmarks/around_the_fit.py [rows] [groups] [repeats]

Every case runs in a process of its own, in turn with its yardstick; printed are the median CPU seconds (of all threads,
imports included) and the range, the wall time, the peak memory, and the ratio of the medians of CPU.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from simulate import two_level

FORMULA = "y ~ x * w + z + t + (x | g)"
MODELS = (
    *("y ~ 1 + (1 | g)", "y ~ x + (1 | g)", "y ~ x + w + (1 | g)", "y ~ x + w + z + (1 | g)"),
    *("y ~ x + w + z + t + (1 | g)", "y ~ x + (x | g)", "y ~ x + w + (x | g)", "y ~ x * w + (x | g)"),
    *("y ~ x * w + z + (x | g)", FORMULA),
)
#: What the Python of every case begins with.
HEAD = f"""
import duckdb
import mlm_ops as mlm
connection = duckdb.connect("rows.duckdb", read_only=True)
formula = {FORMULA!r}
"""
FIT = "fit = mlm.fit(formula, 'main.data', connection=connection)\nfit.fixed_effects\n"
REGISTER = "from mlm_ops.plugins.duckdb import register\nregister(connection)\n"
PREDICTED = "connection.execute(f'select avg(prediction) from ({sql})').fetchall()\n"
AS_TABLES = """
query, names = fit.prediction_query, []
for i, units in enumerate(query.units):
    connection.register('frame', units.frame.to_arrow())
    connection.execute(f'create temp table units_{i} as from frame').fetchall()
    names.append(f'units_{i}')
sql = query.sql('main.data as mlm_rows', names)
"""
CHECKS = """
from mlm_ops.inference.diagnostics.residuals import check_residuals
from mlm_ops.warehouse.source import open_source
check_residuals(fit.prediction_query, open_source('main.data', connection))
"""
EFFECTS = "select unit, term, estimate, std_error, conf_low, conf_high from mlm.latest_random_effects"
MLM = (sys.executable, "-m", "mlm_ops")


@dataclass(frozen=True)
class Case:
    """A command, and the one that it is measured against."""

    name: str
    command: tuple[str, ...]
    against: str
    yardstick: tuple[str, ...]


def python(text: str) -> tuple[str, ...]:
    """The command that runs a text."""
    return sys.executable, "-c", HEAD + text


def cases() -> list[Case]:
    """What is measured, in this order: later cases read what earlier ones wrote."""
    analysis = (*MLM, "fit", "ten.yaml", "--database", "store.duckdb")
    scan = python("connection.execute('select g, avg(y), avg(x) from main.data group by g').fetchnumpy()")
    rows = f"import duckdb; print(duckdb.connect('store.duckdb', read_only=True).execute({EFFECTS!r}).fetchall())"
    show = (*MLM, "show", "--database", "store.duckdb", "--table", "random_effects", "--all")
    from_mlm = "connection.sql(f\"from mlm('{formula}', 'main.data')\").fetchall()"
    read = "import duckdb; duckdb.connect().execute(\"create table t as from read_csv('rows.csv')\")"
    names = ("numpy", "polars", "duckdb", "scipy.special")
    return [
        *(Case(f"ten models, run {i}", analysis, "group means", scan) for i in (1, 2, 3)),
        Case("show --table random_effects --all", show, "print what fetchall gives", (sys.executable, "-c", rows)),
        Case("FROM mlm()", python(REGISTER + from_mlm), "mlm.fit", python(FIT)),
        Case(
            "prediction_sql",
            python(FIT + "sql = fit.prediction_sql('main.data')\n" + PREDICTED),
            "the same with tables of units",
            python(FIT + AS_TABLES + PREDICTED),
        ),
        Case("row diagnostics", python(FIT + CHECKS), "mlm.fit", python(FIT)),
        Case(
            "fit FORMULA small.csv",
            (*MLM, "fit", "y ~ x + (x | g)", "small.csv"),
            f"import {', '.join(names)}",
            (sys.executable, "-c", f"import {', '.join(names)}"),
        ),
        Case(
            "fit FORMULA rows.csv",
            (*MLM, "fit", "y ~ x + (x | g)", "rows.csv"),
            "read_csv",
            (sys.executable, "-c", read),
        ),
    ]


def make_data(folder: Path, rows: int, groups: int) -> None:
    """Write the rows as a database and as delimited text, a thousand of them apart, and the analysis."""
    connection = two_level(rows, groups)
    for name in ("rows", "store"):
        connection.execute(f"attach '{folder / name}.duckdb' as {name}")
        connection.execute(f"create table {name}.main.data as from memory.main.data")
        connection.execute(f"detach {name}")
    connection.execute(f"copy data to '{folder / 'rows.csv'}' (header)")
    connection.execute(f"copy (from data limit 1000) to '{folder / 'small.csv'}' (header)")
    models = "".join(f"  m{i}: {model}\n" for i, model in enumerate(MODELS))
    (folder / "ten.yaml").write_text(f"analysis: ten\ndata: main.data\nlevels: g\nmodels:\n{models}")


def run(command: tuple[str, ...], folder: Path) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak memory in MB of a process."""
    # a process of our own around it, as the system counts the peak of all children together
    meter = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
        + ("u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)")
    )
    # with the bytecode that Python keeps of all it has imported once
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", meter, *command],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    cpu, peak = map(float, done.stdout.split())
    return cpu, time.perf_counter() - started, peak


def main(rows: int = 1_000_000, groups: int = 20_000, repeats: int = 3) -> None:
    """Measure and print."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("mlm-ops", "duckdb", "polars", "numpy", "scipy"))
    print(f"{rows:,} rows in {groups:,} groups, in their order; {os.cpu_count()} processors; {packages}")
    print(f"{'case':36s} {'CPU s':>7s} {'range':>13s} {'wall s':>7s} {'MB':>6s} {'times':>6s}  of")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, rows, groups)
        run((*MLM, "fit", "y ~ x + (x | g)", "small.csv"), folder)  # which leaves the bytecode
        for case in cases():
            # a run of an analysis adds to the store, and so is measured once
            times = 1 if case.name.startswith("ten models") else repeats
            pairs = [(run(case.command, folder), run(case.yardstick, folder)) for _ in range(times)]
            own, other = ([pair[i] for pair in pairs] for i in (0, 1))
            cpu, wall = (statistics.median(one[i] for one in own) for i in (0, 1))
            bounds = f"{min(one[0] for one in own):.2f}-{max(one[0] for one in own):.2f}"
            ratio = cpu / statistics.median(one[0] for one in other)
            peak = max(one[2] for one in own)
            print(
                f"{case.name:36s} {cpu:7.2f} {bounds:>13s} {wall:7.2f} {peak:6.0f} {ratio:6.2f}  {case.against}",
                flush=True,
            )


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main(*(int(float(argument)) for argument in sys.argv[1:]))
