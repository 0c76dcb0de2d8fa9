"""Whether the rows changed: their number, and a sum of hashes of the columns that models read."""

from __future__ import annotations

from collections.abc import Sequence

from mlm_ops.language.model import Model
from mlm_ops.moments.render import category, expression, render
from mlm_ops.moments.source import Source
from mlm_ops.moments.survey import find_needs, key_expression, run


def fingerprint(source: Source, models: Sequence[Model], keys: Sequence[str] = ()) -> str:
    """``<rows>-<sum of hashes>`` of the rows, whatever their order.

    Parameters
    ----------
    source
        The rows.
    models, keys
        As `collect` takes them: what is read of the rows.
    """
    needs = find_needs(source, models, keys)
    sql = render(
        "partition_facts",
        relation=source.relation,
        partition="0",
        numbers=[{"alias": f"x{i}", "expression": expression(n)} for i, n in enumerate(needs.all_numbers)],
        categories=[{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(needs.all_categories)],
        units=[key_expression(source, key) for key in needs.keys],
    )
    result = run(source, sql)
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return f"{rows[0]['n_rows']}-{rows[0]['fingerprint']}" if rows else "0-0"
