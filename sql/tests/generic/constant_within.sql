{# A column of the groups has one value in all rows of a group; a row that lacks it is no contradiction. #}
{% test constant_within(model, column_name, group) %}
{%- set column = mlm.tested_column(column_name) %}
select
  {{ mlm.group_columns(group) }},
  count(*) as n_rows,
  {{ mlm.smallest(column) }} as smallest,
  {{ mlm.largest(column) }} as largest,
  'rows of one group have different values' as problem
from {{ model }}
where {{ mlm.in_group(group) }} and {{ mlm.has_value(column_name, column) }}
group by {{ mlm.group_columns(group) }}
having {{ mlm.smallest(column) }} < {{ mlm.largest(column) }}
{% endtest %}
