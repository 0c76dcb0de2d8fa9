{# There are at least so many groups; rows without a group count in none. With `--empty` there are none to count. #}
{% test min_groups(model, group, at_least) %}
with found as (
  select distinct {{ mlm.group_columns(group) }}
  from {{ model }}
  where {{ mlm.in_group(group) }}
),
counted as (
  select count(*) as n_groups
  from found
)
select
  n_groups,
  {{ at_least }} as at_least,
  'there are fewer groups than the model needs' as problem
from counted
where n_groups < {{ at_least }}{{ ' and 1 = 0' if flags.EMPTY }}
{% endtest %}
