{# The condition that a row belongs to a group: each of the group's columns has a value; NaN counts as missing. #}
{% macro in_group(group) %}
  {{- return(adapter.dispatch('in_group', 'mlm')(group)) -}}
{% endmacro %}

{% macro default__in_group(group) -%}
  {{ mlm.complete(group) }}
{%- endmacro %}
