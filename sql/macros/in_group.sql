{# The condition that a row belongs to a group, as none of the columns that name it is null. #}
{% macro in_group(group) %}
  {{- return(adapter.dispatch('in_group', 'mlm')(group)) -}}
{% endmacro %}

{% macro default__in_group(group) -%}
  {%- for name in ([group] if group is string else group) -%}
  {{ mlm.identifier(name) }} is not null{{ ' and ' if not loop.last }}
  {%- endfor -%}
{%- endmacro %}
