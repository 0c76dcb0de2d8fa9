"""The model of slopes.sql, fitted in Python: `dbt.ref` gives a relation, and the result is a table."""

import mlm_ops


def model(dbt, session):
    dbt.config(materialized="table")
    formula = "mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)"
    fit = mlm_ops.fit(formula, dbt.ref("students_centered"), df="kenward-roger")
    return fit.fixed_effects.to_arrow()
