"""Run ``mlm export --picture``: one picture of the latest results, to an SVG, PNG, PDF or HTML file."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial

from mlm_ops.cli.messages import short_path
from mlm_ops.cli.results import results_path
from mlm_ops.errors import MlmError
from mlm_ops.language.spelling import list_names, unknown_result
from mlm_ops.reports.page.report import read_analyses
from mlm_ops.reports.page.sections import OF_ONE_MODEL, main_model
from mlm_ops.reports.pictures.choice import choose_picture
from mlm_ops.reports.pictures.facts import models_in_order
from mlm_ops.reports.pictures.rows import Selection, table
from mlm_ops.results.words import one_line


def export_picture(options: Namespace, tell: Callable[[str], None]) -> None:
    """Write the picture that was asked for; of several of a key the first, as `Fit.picture` gives it.

    Raises
    ------
    MlmError
        No file is named, there are no such results, or they have no such picture.
    """
    if options.output is None:
        raise MlmError(
            f"A picture is a file. Name it with --output {options.picture}.svg; .png, .pdf and .html are written too."
        )
    if options.format is not None:
        raise MlmError(
            "--format applies to tables. Leave it out: the ending of the file says how a picture is written."
        )
    if len(options.model or ()) > 1:
        raise MlmError(f"A picture shows one model. Got {list_names(options.model)}; name one with --model.")
    by_analysis = read_analyses(results_path(options.database), on_wait=tell)
    analysis = options.analysis if options.analysis is not None else next(iter(by_analysis))
    if analysis not in by_analysis:
        raise MlmError(unknown_result("analysis", analysis, by_analysis))
    if options.analysis is None and len(by_analysis) > 1:
        raise MlmError(f"A picture shows one analysis. Name it with --analysis: {list_names(list(by_analysis))}.")
    tables = by_analysis[analysis]
    structural = table(tables, "sem_parameters")
    models = [*models_in_order(tables), *sorted(set() if structural.is_empty() else set(structural["model"]))]
    if options.model and options.model[0] not in models:
        raise MlmError(unknown_result("model", options.model[0], models))
    default = main_model(tables) if options.picture in OF_ONE_MODEL else None
    model = options.model[0] if options.model else default
    selection = Selection(model=model, term=options.term, group=options.group)
    frames = {name: partial(dict.__getitem__, tables, name) for name in tables}
    picture = choose_picture(frames, options.picture, selection, {}, owner=f"The analysis {analysis}")
    picture.save(options.output)
    print(one_line(f"Wrote {short_path(options.output)}: {picture.question}"))
