{# The group mean of a column, on every row of the group. #}
{% macro between(column, group) %}
  {{- return(adapter.dispatch('between', 'mlm')(column, group)) -}}
{% endmacro %}

{% macro default__between(column, group) -%}
  avg({{ number(adapter.quote(column)) }}) over (partition by {{ adapter.quote(group) }})
{%- endmacro %}
