{# A column minus its grand mean, or minus the reference value `at`. #}
{% macro center(column, at=none) %}
  {{- return(adapter.dispatch('center', 'mlm')(column, at)) -}}
{% endmacro %}

{% macro default__center(column, at=none) -%}
  {%- if at is none -%}
  ({{ number(adapter.quote(column)) }} - avg({{ number(adapter.quote(column)) }}) over ())
  {%- else -%}
  ({{ number(adapter.quote(column)) }} - {{ at }})
  {%- endif -%}
{%- endmacro %}
