{# The group mean of a column, for every row of the group: the mean over the group's rows, or, with `over`, over its units
   of a lower level, each counted once (a school's mean of its class means; `relation` is then the table that the model
   selects from). group: a column, or a list of columns that name a group together; complete: columns in which a row must
   have a value to count in the mean, by default only the column. A row without a group has no mean. #}
{% macro between(column, group, complete=none, over=none, relation=none) %}
  {{- return(adapter.dispatch('between', 'mlm')(column, group, complete, over, relation)) -}}
{% endmacro %}

{% macro default__between(column, group, complete=none, over=none, relation=none) -%}
  {{- mlm.required('between', {'column': column, 'group': group}) -}}
  {%- if over is none -%}
  case when {{ mlm.in_group(group) }} then avg({{ mlm.value(column, complete) }}) over (partition by {{ mlm.group_columns(group) }}) end
  {%- else -%}
  {{ mlm.mean_over_units(column, over, relation, group, complete) }}
  {%- endif -%}
{%- endmacro %}
