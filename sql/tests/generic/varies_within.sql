{# A column that is to be centered within groups differs between rows of at least one group. With `--empty` there are no
   rows. #}
{% test varies_within(model, column_name, group) %}
{%- set column = mlm.tested_column(column_name) %}
with spreads as (
  select
    {{ mlm.smallest(column) }} as smallest,
    {{ mlm.largest(column) }} as largest,
    count(*) as n_rows
  from {{ model }}
  where {{ mlm.in_group(group) }} and {{ mlm.has_value(column_name, column) }}
  group by {{ mlm.group_columns(group) }}
),
totals as (
  select
    count(*) as n_groups,
    sum(n_rows) as n_rows,
    sum(case when smallest < largest then 1 else 0 end) as n_groups_where_it_varies
  from spreads
)
select
  *,
  'no group has two rows with different values, so nothing is left within groups' as problem
from totals
where coalesce(n_groups_where_it_varies, 0) = 0{{ ' and 1 = 0' if flags.EMPTY }}
{% endtest %}
