{# One row a group: its keys, its number of rows n and the means of columns as mean_<column>. Only rows that have a value
   in every column of `complete` count; by default each mean is over all rows that have a value of its column. #}
{% macro group_means(relation, columns, group, complete=none) %}
  {{- return(adapter.dispatch('group_means', 'mlm')(relation, columns, group, complete)) -}}
{% endmacro %}

{% macro default__group_means(relation, columns, group, complete=none) %}
select
  {{ mlm.group_columns(group) }},
  count(*) as n
  {%- for column in columns %},
  avg({{ mlm.value(column) }}) as {{ mlm.identifier('mean_' ~ column) }}
  {%- endfor %}
from {{ relation }}
where {{ mlm.in_group(group) }}{{ ' and ' ~ mlm.complete(complete) if complete }}
group by {{ mlm.group_columns(group) }}
{% endmacro %}
