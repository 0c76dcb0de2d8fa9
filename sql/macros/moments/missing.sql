{# One row: how many rows miss a value of each unit, number and category. Arguments as in `survey`. #}
{% macro missing(relation, numbers, categories, units) %}
  {{- return(adapter.dispatch('missing', 'mlm')(relation, numbers, categories, units)) -}}
{% endmacro %}

{% macro default__missing(relation, numbers, categories, units) %}
select
  {%- for unit in units %}
  count(*) - count({{ unit }}) as missing_unit_{{ loop.index0 }},
  {%- endfor %}
  {%- for number in numbers %}
  count(*) filter (where not ({{ mlm.is_complete([number.expression]) }})) as missing_{{ number.alias }},
  {%- endfor %}
  {%- for category in categories %}
  count(*) - count({{ category.expression }}) as missing_{{ category.alias }},
  {%- endfor %}
  count(*) as n_rows
from {{ relation }}
{% endmacro %}
