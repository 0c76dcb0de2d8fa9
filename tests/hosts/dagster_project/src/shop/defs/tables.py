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


DAYS = dg.DailyPartitionsDefinition("2026-01-05", end_date="2026-01-12", timezone="Europe/Berlin")
VISITS = """
insert into main.visits
select d.day, i % 12, sin(i * 7.3 + n), sin(i * 7.3 + n) / 2 + 2 * sin((i % 12) * 5.7) + cos(i * 3.1 * n)
from (select cast(unnest($days) as date) as day) as d, lateral (select day(d.day) as n) as m, range(120) as r(i)
where i % 12 < $clinics
"""


@dg.asset(key=["marts", "visits"], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def visits(context: dg.AssetExecutionContext, warehouse: Warehouse) -> None:
    """Visits of clinics by day; on the 8th all but one are closed."""
    open_days = [day for day in context.partition_keys if day != "2026-01-08"]
    with warehouse.connection() as connection:
        connection.execute("create table if not exists main.visits (day date, clinic bigint, x double, y double)")
        connection.execute(
            "delete from main.visits where day in (select cast(unnest(?) as date))", [context.partition_keys]
        )
        for days, clinics in ((open_days, 12), ([*set(context.partition_keys) - set(open_days)], 1)):
            connection.execute(VISITS, {"days": days, "clinics": clinics})
