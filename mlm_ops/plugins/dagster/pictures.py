"""Show the main pictures of a model among the metadata of its asset, and write the report as an asset of its own."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import base64
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.run import whole_tables
from mlm_ops.errors import MlmError
from mlm_ops.logs import LOGGER
from mlm_ops.moments.record import Moments
from mlm_ops.plugins.dagster.metadata import Metadata, Result, numbers
from mlm_ops.plugins.dagster.plan import LAST, Plan
from mlm_ops.plugins.dagster.warehouse import step_warehouse
from mlm_ops.reports import PICTURES, Picture, Selection, draw_svg
from mlm_ops.reports.drawing.svg import converter
from mlm_ops.reports.page.background_reports import report_written_ahead
from mlm_ops.reports.page.report import write_reports, written_size
from mlm_ops.reports.page.sections import model_to_show
from mlm_ops.results.words import markdown_text

#: Keys of pictures: of each line the first that the model has is shown.
KEYS = (("two_slopes", "caterpillar"), ("variance",), ("simple_slopes",))
#: Bytes of the pictures of a run and analysis, which Dagster keeps in its event log; further pictures are left out.
MOST_BYTES = 100_000

_LOG = logging.getLogger(LOGGER)


def pictures_metadata(analysis: Analysis, tables: dict[str, pl.DataFrame], moments: Moments) -> Metadata:
    """Make the metadata `pictures`, one text with all of them.

    Parameters
    ----------
    tables
        Published tables of the model that they are of, or of several, of which they are of the last.

    Notes
    -----
    Without the package that draws there are none, and a fault in drawing is logged: the model's results do not depend
    on its pictures.
    """
    try:
        text = _markdown(tables | whole_tables(analysis, moments))
    except MlmError as error:
        return _not_drawn(error) if _can_draw() else {}
    except Exception as error:
        return _not_drawn(error)
    except BaseException as error:
        # a panic of the packages in Rust; an interrupt goes on
        if type(error).__name__ != "PanicException":
            raise
        return _not_drawn(error)
    return {"pictures": dg.MetadataValue.md(text)} if text else {}


def _can_draw() -> bool:
    """Whether the package that draws is installed."""
    try:
        converter()
    except MlmError:
        return False
    return True


def _not_drawn(error: BaseException) -> Metadata:
    # our own errors are whole sentences
    reason = str(error) if isinstance(error, MlmError) else f"{type(error).__name__}: {error}"
    _LOG.warning("The pictures of the model are not drawn: %s", reason)
    return {}


def _markdown(tables: dict[str, pl.DataFrame]) -> str:
    parts: list[str] = []
    size = 0
    for picture in _pictures(tables):
        part = _picture(picture)
        if size + len(part) <= MOST_BYTES:
            parts.append(part)
            size += len(part)
    return "\n\n".join(parts)


def _pictures(tables: dict[str, pl.DataFrame]) -> Iterator[Picture]:
    for keys in KEYS:
        drafts = (picture for key in keys for picture in PICTURES[key](tables, Selection()))
        if (picture := next(drafts, None)) is not None:
            yield picture


def _picture(picture: Picture) -> str:
    """Question, answer and drawing, which has no hover texts and no units in it."""
    question = markdown_text(picture.question)
    alternative = question.replace("[", "\\[").replace("]", "\\]")
    drawing = base64.b64encode(draw_svg(picture, titles=False).encode()).decode()
    address = f"data:image/svg+xml;base64,{drawing}"
    return f"**{question}**\n\n{markdown_text(picture.answer)}\n\n![{alternative}]({address})"


def report_model(analysis: Analysis) -> str | None:
    """The model that a report is about, as it chooses from what the analysis asks for before there are results.

    None where that is the one that a ladder selects, whose name is not known before.
    """
    models = analysis.compiled_models
    diagnosed = set(analysis.diagnostics) & set(models)
    if analysis.compiled_strategy is not None and not diagnosed:
        return None
    return model_to_show(
        list(models),
        compared={name for pair in analysis.compare for name in pair},
        diagnosed=diagnosed,
        varying={name for name, model in models.items() if model.random},
        fitted=set(models),
    )


def report_asset(plan: Plan) -> dg.AssetsDefinition:
    """Make the asset that writes the published results as a page; its failure leaves them as they are."""

    @dg.asset(
        key=plan.key("report"),
        deps=[plan.key("results")],
        group_name=plan.group,
        kinds={"html"},
        # after the steps of all analyses: a second process may be writing it meanwhile
        **plan.step(LAST),
        description="The published results as one HTML page, which needs no network and no server: what was found, "
        "whether it holds, and pictures of it.",
    )
    def report(context: dg.AssetExecutionContext) -> Result:
        with step_warehouse(context, plan) as warehouse:
            return Result(metadata=make_report(warehouse.results, plan.analysis.analysis))

    return report


def make_report(results: Path, analysis: str) -> Metadata:
    """Write the report of an analysis beside its published results, as `mlm report` does.

    Raises
    ------
    MlmError
        There are no results, the file cannot be written, or it would be too large.
    """
    start = time.perf_counter()
    file = report_written_ahead(results, analysis) or write_reports(results, analysis=analysis)[0]
    counts = {"pictures": file.pictures, "bytes": file.size, "seconds": time.perf_counter() - start}
    why = f". {file.missing}" if file.missing else ""
    metadata: Metadata = {
        "report": dg.MetadataValue.path(file.path),
        "summary": dg.MetadataValue.text(f"{file.path.name}: {written_size(file)}{why}"),
        **numbers(counts),
    }
    if file.answers:
        metadata["in_short"] = dg.MetadataValue.md("\n".join(f"- {markdown_text(answer)}" for answer in file.answers))
    return metadata | ({"missing": dg.MetadataValue.text(file.missing)} if file.missing else {})
