{# A column minus its group mean. #}
{% macro within(column, group) %}
  {{- return(adapter.dispatch('within', 'mlm')(column, group)) -}}
{% endmacro %}

{% macro default__within(column, group) -%}
  ({{ number(adapter.quote(column)) }} - {{ between(column, group) }})
{%- endmacro %}
