"""Show result tables: pictures of them, and the report that holds these.

Three folders, each importing from those after it alone: ``page`` lays pictures out, ``drawing`` makes SVG and
PNG of them, ``pictures`` says what they show. Rooms below look a picture up by the names here, which are imported when
first used: nothing of this room, least of all the drawing, is imported with the package.
"""

from typing import TYPE_CHECKING

from mlm_ops.lazy import names_on_use

if TYPE_CHECKING:
    from mlm_ops.reports.drawing.files import draw_png, save_picture
    from mlm_ops.reports.drawing.svg import draw_svg
    from mlm_ops.reports.page.sections import main_model
    from mlm_ops.reports.pictures import PICTURES
    from mlm_ops.reports.pictures.choice import choose_picture
    from mlm_ops.reports.pictures.path_diagram import path_diagram
    from mlm_ops.reports.pictures.picture import Picture
    from mlm_ops.reports.pictures.rows import Selection

__all__ = [
    "PICTURES",
    "Picture",
    "Selection",
    "choose_picture",
    "draw_png",
    "draw_svg",
    "main_model",
    "path_diagram",
    "save_picture",
]

_LAZY = {
    "PICTURES": "mlm_ops.reports.pictures",
    "Picture": "mlm_ops.reports.pictures.picture",
    "Selection": "mlm_ops.reports.pictures.rows",
    "choose_picture": "mlm_ops.reports.pictures.choice",
    "draw_png": "mlm_ops.reports.drawing.files",
    "draw_svg": "mlm_ops.reports.drawing.svg",
    "main_model": "mlm_ops.reports.page.sections",
    "path_diagram": "mlm_ops.reports.pictures.path_diagram",
    "save_picture": "mlm_ops.reports.drawing.files",
}
__getattr__ = names_on_use(__name__, _LAZY)
