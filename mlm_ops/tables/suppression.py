"""Small groups are not published: their estimates tell of few people, and can tell who they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlm_ops.language.model import group_name

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

_UNIT = {"group": pl.String(), "unit": pl.String()}


def suppress(tables: Mapping[str, pl.DataFrame], fitted: Fit, least: int) -> dict[str, pl.DataFrame]:
    """Take the groups of fewer than `least` rows out of the tables that name groups.

    Their rows of ``random_effects`` go; those of ``diagnostics`` stay without the group's label; ``models`` notes how
    many there are. ``influence`` keeps all, and is not published.
    """
    small, counts = [], []
    for level in fitted.result.design.levels:
        codes, labels = fitted.moments.units_of(level.group)
        sizes = np.bincount(codes, fitted.moments.n, len(labels))
        few = labels[sizes < least].astype(str)
        small.append(pl.DataFrame({"group": [group_name(level.group)] * len(few), "unit": few.tolist()}, schema=_UNIT))
        if len(few):
            counts.append(f"{len(few)} of {len(labels)} groups of {group_name(level.group)}")
    if not counts:
        return dict(tables)
    units, told = pl.concat(small), f"fewer than {least} rows"
    found = dict(tables)
    if "random_effects" in found:
        found["random_effects"] = found["random_effects"].join(units, on=["group", "unit"], how="anti")
    if "diagnostics" in found:
        hidden = found["diagnostics"].join(units.with_columns(hidden=True), on=["group", "unit"], how="left")
        by_label = pl.when(pl.col("hidden"))
        found["diagnostics"] = hidden.with_columns(
            by_label.then(pl.lit(f"({told})")).otherwise(pl.col("unit")).alias("unit"),
            by_label.then(pl.lit(f"a group of {told}")).otherwise(pl.col("note")).alias("note"),
        ).drop("hidden")
    if "models" in found:
        note = f"min_publish_n: {', '.join(counts)} have {told} and are not named in any table"
        notes = pl.concat_str(pl.col("notes").replace("", None), pl.lit(note), separator="\n", ignore_nulls=True)
        found["models"] = found["models"].with_columns(notes.alias("notes"))
    return found
