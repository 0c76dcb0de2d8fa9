{# One row a group: its size and the means of columns. #}
{% macro group_means(relation, columns, group) %}
  {{- return(adapter.dispatch('group_means', 'mlm')(relation, columns, group)) -}}
{% endmacro %}

{% macro default__group_means(relation, columns, group) %}
select
  {{ adapter.quote(group) }},
  count(*) as n
  {%- for column in columns %},
  avg({{ number(adapter.quote(column)) }}) as {{ adapter.quote('mean_' ~ column) }}
  {%- endfor %}
from {{ relation }}
group by {{ adapter.quote(group) }}
{% endmacro %}
