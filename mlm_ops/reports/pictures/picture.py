"""Define `Picture`: one chart with its question, its answer, how to read it, and the numbers that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import MlmError
from mlm_ops.reports.pictures.theme import Spec, styled

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class Picture:
    """One chart, as a specification; it is drawn when asked for.

    Attributes
    ----------
    key
        Which picture it is: its key in `PICTURES`.
    question
        The heading.
    answer
        One sentence or more, of numbers of the tables.
    reading
        How to read the chart.
    spec
        Its own part of a Vega-Lite specification, with colours by name (`theme.COLOURS`); of a path diagram its
        ``shapes`` as elements of SVG, with its ``width`` and ``height``.
    numbers
        The rows that it shows.
    sql
        The query over the store's tables that gives these rows, in some order.
    """

    key: str
    question: str
    answer: str
    reading: str
    spec: Spec
    numbers: pl.DataFrame
    sql: str

    @property
    def is_plain(self) -> bool:
        """Whether it is made of shapes, and is drawn as SVG without the package vl-convert-python."""
        return "shapes" in self.spec

    def painted_spec(self, *, dark: bool = False) -> Spec:
        """The whole Vega-Lite specification, with colours for a light or a dark ground.

        Raises
        ------
        MlmError
            The picture has none.
        """
        if self.is_plain:
            raise MlmError("A path diagram is no Vega-Lite chart, and has no specification of one. Take its svg().")
        return styled(self.spec, dark=dark)

    def svg(self, *, dark: bool = False) -> str:
        """The picture as SVG text, on a ground of its own.

        Raises
        ------
        MlmError
            The package vl-convert-python is not installed, and the picture needs it.
        """
        # the drawing imports this module; rules of the house: it is looked up by its public name, when it is needed
        from mlm_ops import reports

        return reports.draw_svg(self, ground="dark" if dark else "light")

    def png(self, scale: float = 2.0) -> bytes:
        """The picture as a PNG, in light colours.

        Parameters
        ----------
        scale
            Pixels a unit of the picture's width, 420.

        Raises
        ------
        MlmError
            The package vl-convert-python is not installed.
        """
        from mlm_ops import reports

        return reports.draw_png(self, scale)

    def save(self, path: str | Path) -> Path:
        """Write the picture as .svg, .png, .pdf or .html, as the file's name ends.

        Raises
        ------
        MlmError
            The name ends otherwise, the file cannot be written, or the package vl-convert-python is not installed.
        """
        from mlm_ops import reports

        return reports.save_picture(self, Path(path))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What notebooks show: the picture in light colours, and its answer where they show text alone."""
        return {"image/svg+xml": self.svg(), "text/plain": self.answer}
