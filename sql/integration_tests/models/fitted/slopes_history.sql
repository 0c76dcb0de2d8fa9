{{ config(materialized='incremental', full_refresh=false) }}
-- A row more for each coefficient at each run, which no full refresh takes away
select
  cast('{{ run_started_at.isoformat() }}' as timestamptz) as run_at,
  fit.*
from (
  {{ mlm.fit(
    'mathach ~ within(ses) + between(ses) + (within(ses) | school)',
    ref('students_centered')
  ) }}
) as fit
