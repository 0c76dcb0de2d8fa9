"""Run ``mlm centering``: one model raw, and centered at the grand mean and at group means, beside each other."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import polars as pl

from mlm_ops.cli.rows import database_of_table, refuse_beside_file, require_data, with_rows
from mlm_ops.cli.terminal import console, show_versions
from mlm_ops.errors import MlmError
from mlm_ops.language.options import ESTIMATOR
from mlm_ops.language.spelling import did_you_mean, list_names
from mlm_ops.warehouse.connection import using


def centering_of_formula(options: Namespace) -> None:
    """Print the versions of a formula fitted to a data file; nothing is written."""
    if options.database is not None or options.model is not None:
        raise MlmError("A formula is fitted to one data file; --database and --model are for analysis files.")
    require_data(options, "A formula")
    from mlm_ops.results.fitting import fit

    estimator = ESTIMATOR.of(options.estimator or ESTIMATOR.default)

    def show(rows: Any, connection: Any) -> None:
        print_versions(fit(options.what, rows, connection=connection, estimator=estimator).centering())

    with_rows(options, show)


def centering_of_analysis(options: Namespace) -> None:
    """Print the versions of a model of an analysis file, fitted to its rows in a database; nothing is written."""
    refuse_beside_file(options, ("table", "null", "estimator"))
    from mlm_ops.analyses.file.analysis import read_analysis
    from mlm_ops.analyses.rows import check_data
    from mlm_ops.analyses.run import collect_analysis, fit_analysis_model

    analysis = read_analysis(options.what, allow_files=options.allow_files)
    if options.database is None:
        check_data(analysis)
    database = database_of_table(options, analysis)
    names = list(analysis.models)
    name = options.model if options.model is not None else next(iter(analysis.centering), names[-1])
    if name not in names:
        raise MlmError(f"{options.what} has no model {name}.{did_you_mean(name, names)} There are {list_names(names)}.")
    with using(database, wait=options.wait) as connection:
        fitted = fit_analysis_model(analysis, name, collect_analysis(analysis, connection))
    print_versions(fitted.centering())


def print_versions(table: pl.DataFrame) -> None:
    """Print the versions beside each other, and the sentences about them."""
    show_versions(console(), table, sentences=True)
