"""The project's own tables: one as a dbt project would make it, with its schema in its key."""

import dagster as dg

from mlm_ops.plugins.dagster import Warehouse

PUPILS = """
create or replace table main.pupils as
select p.school, p.wave, p.x, p.x / 2 + s.u + p.e as y
from (
    select i % 30 as school, 2020 + i % 2 as wave, sin(i * 7.3) as x, cos(i * 3.1) + sin(i * i * 0.7) as e
    from range(1200) as r(i)
) as p join (select j as school, 2 * sin(j * 5.7) as u from range(30) as q(j)) as s using (school)
"""


@dg.asset(key=["marts", "pupils"], kinds={"duckdb"})
def pupils(warehouse: Warehouse) -> None:
    """Pupils in schools, in two waves."""
    with warehouse.connection() as connection:
        connection.execute(PUPILS)


@dg.schedule(cron_schedule="0 5 * * *", target=dg.AssetSelection.groups("survey"))
def nightly() -> dg.RunRequest:
    """All models, at five in the morning."""
    return dg.RunRequest()
