{# The condition that a row has a value in each of these columns: a column, or a list of columns. #}
{% macro complete(columns) %}
  {{- return(adapter.dispatch('complete', 'mlm')(columns)) -}}
{% endmacro %}

{% macro default__complete(columns) -%}
  {%- for name in ([columns] if columns is string else columns) -%}
  {{ mlm.has_value(name) }}{{ ' and ' if not loop.last }}
  {%- endfor -%}
{%- endmacro %}
