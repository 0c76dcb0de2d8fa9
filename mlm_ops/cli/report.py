"""Run ``mlm report``: write the pages of the latest results, and print one line for each and for what is missing."""

from __future__ import annotations

import webbrowser
from argparse import Namespace
from collections.abc import Callable

from mlm_ops.cli.messages import short_path
from mlm_ops.cli.results import results_path
from mlm_ops.reports.page.report import write_reports, written_text
from mlm_ops.results.words import one_line


def write_pages(options: Namespace, tell: Callable[[str], None]) -> None:
    """Write the pages that were asked for; on request open the last, which is the index where there are several.

    Raises
    ------
    MlmError
        As `mlm_ops.report`.
    """
    files = write_reports(
        results_path(options.database),
        options.output,
        options.analysis,
        options.model,
        unit_names=options.unit_names,
        runs=options.runs,
        on_wait=tell,
    )
    for file in files:
        print(one_line(f"Wrote {short_path(file.path)} {written_text(file)}"))
    for sentence in dict.fromkeys(file.missing for file in files if file.missing):
        tell(f"Pictures are missing in the report. {sentence}")
    if options.open and not webbrowser.open(files[-1].path.resolve().as_uri()):
        tell(f"No browser could be opened. Open {short_path(files[-1].path)} in one.")
