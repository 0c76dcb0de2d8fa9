"""The results in a browser, without a network: ``uv run marimo run pipelines/dashboard.py``.

Another store: ``uv run marimo run pipelines/dashboard.py -- --database other.duckdb``. It is opened read-only.
"""

import marimo

app = marimo.App(width="full", app_title="mlm-ops")

with app.setup:
    from pathlib import Path
    from typing import Any

    import marimo as mo
    import polars as pl

    from mlm_ops import MlmError
    from mlm_ops.analyses.store.latest import SEVERAL, read_latest_results
    from mlm_ops.reports import PICTURES, Selection, main_model
    from mlm_ops.results.tables.descriptions import COLUMNS, ROWS
    from mlm_ops.results.words import cell, html_text

    Tables = dict[str, pl.DataFrame]
    PUBLISHED = Path(__file__).parents[1] / "warehouse" / "results.duckdb"

    def text(words: str) -> mo.Html:
        """Words as they are: a name from the data may look like markup, or like the address of an image."""
        return mo.Html(f"<span>{html_text(words)}</span>")

    def sheet(rows: pl.DataFrame) -> mo.ui.table:
        """A table to read; the meaning of each column shows over its name."""
        rows = rows.select(pl.exclude("run_id", "analysis", "model"))
        words: dict[str, Any] = {name: lambda value, name=name: text(cell(name, value)) for name in rows.columns}
        tips = {name: COLUMNS.get(name, "") for name in rows.columns}
        looks: dict[str, Any] = {"format_mapping": words, "header_tooltip": tips, "show_data_types": False}
        return mo.ui.table(rows, selection=None, page_size=15, **looks)


@app.cell
def _() -> tuple[mo.ui.dropdown, Tables]:
    database = Path(str(mo.cli_args().get("database") or PUBLISHED))
    absent = f"There are no results in {database} yet. Run the pipeline first, uv run mlm run, and reload this page."
    try:
        results = read_latest_results(database, runs=60) if database.is_file() else {}
    except MlmError as error:
        mo.stop(True, text(str(error)))
    names = sorted(results["runs"]["analysis"], key=lambda name: (name != "hsb", name)) if results else []
    mo.stop(not names, text(absent))
    analysis = mo.ui.dropdown(names, value=names[0], label="Analysis", searchable=True)
    return analysis, results


@app.cell
def _(analysis: mo.ui.dropdown, results: Tables) -> tuple[mo.ui.dropdown, Tables]:
    tables = {name: rows.filter(pl.col("analysis") == analysis.value) for name, rows in results.items()}
    models = [name for table in ("models", "sem_fit") if table in tables for name in tables[table]["model"]]
    model = mo.ui.dropdown(models, value=main_model(tables) or next(iter(models), None), label="Model")
    run = tables["runs"].row(0, named=True)
    facts = f"Run of {run['finished_at']:%Y-%m-%d %H:%M} UTC: {run['n_rows']:,} rows of {run['data']}"
    mo.vstack([mo.md("# Results"), mo.hstack([analysis, model], justify="start"), text(facts)])
    return model, tables


@app.cell
def _(model: mo.ui.dropdown, tables: Tables) -> tuple[mo.ui.dropdown, Tables, mo.ui.dropdown]:
    of_model = pl.col("model").is_null() | (pl.col("model") == model.value)
    own = {name: tables[name].filter(of_model) for name in ROWS if "model" in tables.get(name, pl.DataFrame())}
    filled = {name: rows for name, rows in own.items() if not rows.is_empty()}
    table = mo.ui.dropdown(list(filled), value=next(iter(filled), None), label="Table")
    drafts = [picture for draft in PICTURES.values() for picture in draft(tables, Selection(model=model.value))]
    questions = {f"{number}. {picture.question}": picture for number, picture in enumerate(drafts, 1)}
    choice = mo.ui.dropdown(questions, value=next(iter(questions), None), label="Picture")
    return choice, filled, table


@app.cell
def _(filled: Tables, table: mo.ui.dropdown) -> None:
    rows = [text(ROWS[table.value]), sheet(filled[table.value])] if table.value else [text("The model has no rows.")]
    mo.vstack([mo.md("## Tables"), table, *rows])


@app.cell
def _(choice: mo.ui.dropdown) -> None:
    picture = choice.value
    try:
        drawing = mo.Html(picture.svg()) if picture else text("The model has no pictures.")
    except MlmError as error:  # the package that draws them is not installed
        drawing = text(str(error))
    mo.vstack([mo.md("## Pictures"), choice, drawing, text(f"{picture.answer} {picture.reading}" if picture else "")])


@app.cell
def _(model: mo.ui.dropdown, tables: Tables) -> None:
    effects, runs = (tables.get(SEVERAL + name, pl.DataFrame()) for name in ("fixed_effects", "runs"))
    past = text("No earlier run is kept; the history begins with the next one.")
    if not effects.is_empty():
        when = effects.filter(pl.col("model") == model.value).join(runs.select("run_id", "finished_at"), on="run_id")
        columns = ["finished_at", "term", "estimate", "std_error", "conf_low", "conf_high"]
        past = sheet(when.select(columns).sort("finished_at", descending=True, maintain_order=True))
    mo.vstack([mo.md("## History"), past])
