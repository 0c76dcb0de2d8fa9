"""Print what ``mlm report`` prints: a line a file that was written, and one of what is missing."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Sequence

from mlm_ops.cli.messages import short_path
from mlm_ops.reports.page.report import Written, written_text
from mlm_ops.results.words import one_line


def print_written(files: Sequence[Written], *, tell: Callable[[str], None], browser: bool) -> None:
    """Print the files, and open the last, the index where there are several, if the user wants it."""
    for file in files:
        print(one_line(f"Wrote {short_path(file.path)} {written_text(file)}"))
    for sentence in dict.fromkeys(file.missing for file in files if file.missing):
        tell(f"Pictures are missing in the report. {sentence}")
    if browser and not webbrowser.open(files[-1].path.resolve().as_uri()):
        tell(f"No browser could be opened. Open {short_path(files[-1].path)} in one.")
