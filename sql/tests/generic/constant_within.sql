{# A column of the groups has one value in all rows of a group; a row that lacks it is no contradiction. #}
{% test constant_within(model, column_name, group) %}
select
  {{ mlm.group_columns(group) }},
  count(*) as n_rows,
  {{ mlm.smallest(mlm.identifier(column_name)) }} as smallest,
  {{ mlm.largest(mlm.identifier(column_name)) }} as largest,
  'rows of one group have different values' as problem
from {{ model }}
where {{ mlm.in_group(group) }} and {{ mlm.has_value(column_name) }}
group by {{ mlm.group_columns(group) }}
having {{ mlm.smallest(mlm.identifier(column_name)) }} < {{ mlm.largest(mlm.identifier(column_name)) }}
{% endtest %}
