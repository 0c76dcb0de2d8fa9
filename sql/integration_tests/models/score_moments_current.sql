-- The newest load of each part, without the schools that it has lost
select *
from (
  select *, max(loaded) over (partition by part) as newest
  from {{ ref('score_moments_merged') }}
) as loads
where loaded = newest
