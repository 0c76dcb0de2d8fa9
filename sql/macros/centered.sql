{# Every row with its columns' group means, group- and grand-mean centered versions: the within/between split.
   x = between_x + within_x, and center_x = x - the grand mean. Means are over the rows of `relation`. #}
{% macro centered(relation, columns, group) %}
  {{- return(adapter.dispatch('centered', 'mlm')(relation, columns, group)) -}}
{% endmacro %}

{% macro default__centered(relation, columns, group) %}
select
  *
  {%- for column in columns %},
  {{ between(column, group) }} as {{ adapter.quote('between_' ~ column) }},
  {{ within(column, group) }} as {{ adapter.quote('within_' ~ column) }},
  {{ center(column) }} as {{ adapter.quote('center_' ~ column) }}
  {%- endfor %}
from {{ relation }}
{% endmacro %}
