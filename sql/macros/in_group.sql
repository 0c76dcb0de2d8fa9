{# The condition that a row belongs to a group, as each of the columns that name it has a value; NaN is none. #}
{% macro in_group(group) %}
  {{- return(adapter.dispatch('in_group', 'mlm')(group)) -}}
{% endmacro %}

{% macro default__in_group(group) -%}
  {{ mlm.complete(group) }}
{%- endmacro %}
