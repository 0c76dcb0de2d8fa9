{# The group mean of a column, on every row of the group; `group` is a column, or a list of columns. #}
{% macro between(column, group) %}
  {{- return(adapter.dispatch('between', 'mlm')(column, group)) -}}
{% endmacro %}

{% macro default__between(column, group) -%}
  avg({{ number(adapter.quote(column)) }}) over (partition by {% for name in ([group] if group is string else group) -%}
  {{ adapter.quote(name) }}{{ ', ' if not loop.last }}
  {%- endfor %})
{%- endmacro %}
