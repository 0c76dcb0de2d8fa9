{# A column minus its group mean. Arguments as in `between`. #}
{% macro within(column, group, complete=none, over=none, relation=none) %}
  {{- return(adapter.dispatch('within', 'mlm')(column, group, complete, over, relation)) -}}
{% endmacro %}

{% macro default__within(column, group, complete=none, over=none, relation=none) -%}
  {{- mlm.required('within', {'column': column, 'group': group}) -}}
  ({{ mlm.value(column) }} - {{ mlm.between(column, group, complete, over, relation) }})
{%- endmacro %}
