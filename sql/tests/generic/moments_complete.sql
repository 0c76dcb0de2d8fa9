{# The sizes n of a model of moments, summed by group, are the numbers of rows of its source that have a value in every
   column of `complete`: no row is lost, counted twice, or left behind by an incremental run. #}
{% test moments_complete(model, relation, group, complete) %}
with sizes as (
  select {{ mlm.group_columns(group) }}, n as n_in_moments, 0 as n_in_source
  from {{ model }}
  union all
  select {{ mlm.group_columns(group) }}, 0 as n_in_moments, 1 as n_in_source
  from {{ relation }}
  where {{ mlm.in_group(group) }} and {{ mlm.complete(complete) }}
)
select
  {{ mlm.group_columns(group) }},
  sum(n_in_moments) as n_in_moments,
  sum(n_in_source) as n_in_source,
  'n of the moments is not the number of complete rows' as problem
from sizes
group by {{ mlm.group_columns(group) }}
having sum(n_in_moments) <> sum(n_in_source)
{% endtest %}
