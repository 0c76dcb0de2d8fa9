-- dbt cannot seed such names
select
  row_id,
  g as "group",
  a as "a ""b"";c",
  b as "select",
  c as "naïve 'x' -- y"
from {{ ref('hostile_rows') }}
