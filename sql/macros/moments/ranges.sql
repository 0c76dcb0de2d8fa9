{# One row: the smallest and the largest value of each number over the complete rows. Arguments as in `survey`. #}
{% macro ranges(relation, numbers, complete) %}
  {{- return(adapter.dispatch('ranges', 'mlm')(relation, numbers, complete)) -}}
{% endmacro %}

{% macro default__ranges(relation, numbers, complete) %}
select
  {%- for number in numbers %}
  min({{ number.expression }}) as min_{{ number.alias }},
  max({{ number.expression }}) as max_{{ number.alias }},
  {%- endfor %}
  count(*) as n_complete
from {{ relation }}
where {{ complete }}
{% endmacro %}
