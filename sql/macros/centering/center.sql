{# A column minus its grand mean over rows; minus its mean over the units of `over`, each counted once (`relation` is
   then the table that the model selects from); or minus the reference value `at`. complete: columns in which a row must
   have a value to count in the mean, by default only the column. #}
{% macro center(column, at=none, over=none, complete=none, relation=none) %}
  {{- return(adapter.dispatch('center', 'mlm')(column, at, over, complete, relation)) -}}
{% endmacro %}

{% macro default__center(column, at=none, over=none, complete=none, relation=none) -%}
  {{- mlm.required('center', {'column': column}) -}}
  {%- if at is not none and over is not none -%}
  {{ exceptions.raise_compiler_error("mlm.center() takes at= or over=, not both.") }}
  {%- elif at is not none and at is not number -%}
  {{ exceptions.raise_compiler_error("mlm.center() takes a number as at=. Got '" ~ at ~ "'.") }}
  {%- elif at is not none -%}
  ({{ mlm.value(column) }} - {{ mlm.number("'" ~ at ~ "'") }})
  {%- elif over is not none -%}
  ({{ mlm.value(column) }} - {{ mlm.mean_over_units(column, over, relation, [], complete) }})
  {%- else -%}
  ({{ mlm.value(column) }} - avg({{ mlm.value(column, complete) }}) over ())
  {%- endif -%}
{%- endmacro %}
