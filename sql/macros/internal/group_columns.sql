{# The quoted columns of a group, separated by commas; `group` is a column, or a list of columns. #}
{% macro group_columns(group) %}
  {{- return(adapter.dispatch('group_columns', 'mlm')(group)) -}}
{% endmacro %}

{% macro default__group_columns(group) -%}
  {%- for name in ([group] if group is string else group) -%}
  {{ mlm.identifier(name) }}{{ ', ' if not loop.last }}
  {%- endfor -%}
{%- endmacro %}
