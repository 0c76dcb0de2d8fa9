-- Rows that arrive in parts, of which one is corrected: `--vars 'corrected: true'` raises part 2's scores and drops rows
{% set corrected = 'true' if var('corrected', false) else 'false' %}
with parts as (
  select school, mathach, ses, minority, 2 * minority + case when sex = 'Female' then 1 else 0 end as part
  from {{ ref('hsb') }}
)
select
  school,
  part,
  ses,
  case when {{ corrected }} and part = 2 then mathach + 10 else mathach end as mathach,
  case when {{ corrected }} and part = 2 then 2 else 1 end as loaded
from parts
where not ({{ corrected }} and part = 2 and ses > 0.5)
