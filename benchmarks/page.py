"""Run the benchmarks that docs/benchmarks.md shows, and write the page.

    uv run python benchmarks/page.py [words of titles]

With words, only the sections whose titles have one of them are measured, and the others stay as they are. All take some
twenty minutes on a machine that does nothing else. Rivals are installed by uv, each in an environment of its own; what
could not be installed stands on the page.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
#: What is compared, by whom, and how to read it; the script and its arguments.
SECTIONS = (
    (
        "Two levels, from a table to the fit",
        "The scan and the fit against DuckDB's own `GROUP BY` of the same columns' means, which is the least that any "
        "program that reads the rows could take.",
        ("two_level.py",),
    ),
    (
        "Two levels, against compiled fitters",
        "Theirs start from a data frame in memory, ours from the table; log-likelihoods stand beside the times. "
        "gpboost fits by ML and without the covariance of intercept and slope, which explains its likelihood.",
        ("rivals.py",),
    ),
    (
        "A million groups of three rows",
        "Where most of the work is by group, moments save little.",
        ("rivals.py", "3e6", "1e6"),
    ),
    (
        "Models of other shapes",
        "Wide, with many random effects, and deep.",
        ("shapes.py",),
    ),
    (
        "Three levels",
        "Random slopes of classes in schools: the scan, and the fit after it.",
        ("structures.py",),
    ),
    (
        "Robust errors",
        "CR2 and its degrees of freedom after a fit, beside CR0, which has no correction for few clusters.",
        ("robust.py",),
    ),
    (
        "A table on disk",
        "DuckDB has 2 GB; what the fit needs beside it grows with the groups, not with the rows.",
        ("on_disk.py",),
    ),
    (
        "A billion rows on disk",
        "The same ten times; it takes 8 GB of disk and some minutes, most of them to make the rows.",
        ("on_disk.py", "1e9", "1e7"),
    ),
    (
        "Crossed factors",
        "The fill-in of the smaller factor is what costs; nothing is approximated.",
        ("crossed.py",),
    ),
    (
        "What stands around the fit",
        "Printing, predicting, analyses with a history.",
        ("around_the_fit.py",),
    ),
    ("A ladder of models", "The candidates share one scan.", ("ladder.py",)),
    (
        "A new day",
        "The moments of a partition are added to those of the others; a day that is corrected is scanned alone, and "
        "the groups that it has rows of are changed. What is left is work by group: where a day has rows of most "
        "groups, its own moments are two thirds as many as those of all days.",
        ("partitions.py", "1e7", "1e5"),
    ),
    (
        "Many models and partitions in Dagster",
        "Loading a code location, and a run that fits each partition alone; a second one compares it with the first.",
        ("dagster_scale.py", "1000"),
    ),
)
OPENING = """# Benchmarks

Made by `uv run python benchmarks/page.py`, on a machine of {cores} cores ({processor}, {memory:.0f} GB), with mlm-ops
{mlm_ops}, DuckDB {duckdb}, numpy {numpy}, scipy {scipy} and Python {python}. Machines differ: read the ratios. Each
script prints medians and takes its sizes as arguments.
"""


#: What the figures above do not say of themselves.
CLOSING = """## Where it loses

- Small tables: a fit sends three statements, whose planning alone takes some milliseconds each, however few the rows.
- Many predictors of the rows: the sums of squares and products of twenty are 231 for each group, so that the lead over
  a compiled fitter is two- to threefold. Robust errors, influence and every other model of the analysis are made of
  them, without a row being read again.
- A million groups of three rows: moments save little where groups are as small as that.
- A stored analysis: tables, random effects of every unit, influence and drift take more than ten times as long as the
  fits.
- A refreshed day in which most groups have rows: grouping, logging and storing it costs a quarter of a scan of
  everything. Finding out that nothing has changed reads every row once.
- Crossed factors: exact, so that time grows with the third power of the smaller factor's effects. gpboost's iterative
  method is approximate and does not.
"""


def main(words: list[str]) -> None:
    """Run the scripts of the sections whose titles have one of the words, or all, and write each into the page."""
    measured = sections_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    for title, text, (script, *arguments) in SECTIONS:
        if words and not any(word in title for word in words):
            continue
        print(f"{title} ...", flush=True)
        done = subprocess.run([sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"benchmarks/{script} failed; its section is left as it was.", flush=True)
            continue
        command = " ".join(["benchmarks/" + script, *arguments])
        day = datetime.now(UTC).date()
        heading = textwrap.fill(f"{text} `{command}`, {day}:", 120, break_long_words=False, break_on_hyphens=False)
        printed = "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())
        measured[title] = f"{heading}\n\n```text\n{printed}\n```\n"
        parts = [f"## {title}\n\n{measured[title]}" for title, _, _ in SECTIONS if title in measured]
        PAGE.write_text("\n".join([opening(), *parts, CLOSING]), encoding="utf-8")


def sections_of(page: str) -> dict[str, str]:
    """What stands below each title of a page."""
    sections = (part.partition("\n\n") for part in page.split("\n## ")[1:])
    return {title: text for title, _, text in sections}


def opening() -> str:
    """The page's first lines: what it was measured on, and with."""
    return OPENING.format(
        cores=os.cpu_count(),
        processor=processor(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        mlm_ops=version("mlm-ops"),
        duckdb=version("duckdb"),
        numpy=version("numpy"),
        scipy=version("scipy"),
        python=platform.python_version(),
    )


def processor() -> str:
    """The processor's name, where the system tells it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main(sys.argv[1:])
