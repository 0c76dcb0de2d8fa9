{# Every row with three new columns for each column x: its group mean between_x, the group-mean centered within_x and the
   grand-mean centered center_x. x = between_x + within_x, and center_x = x - the grand mean. With `complete`, only rows
   that have a value in each of its columns are kept; means are over the rows that are kept and have a value of x. #}
{% macro centered(relation, columns, group, complete=none) %}
  {{- return(adapter.dispatch('centered', 'mlm')(relation, columns, group, complete)) -}}
{% endmacro %}

{% macro default__centered(relation, columns, group, complete=none) %}
{{- mlm.required('centered', {'relation': relation, 'columns': columns, 'group': group}) }}
{%- set columns = [columns] if columns is string else columns %}
{%- set names = [] %}
{%- for column in columns %}
{%- set _ = names.append(['between_' ~ column, 'the group means of ' ~ column]) %}
{%- set _ = names.append(['within_' ~ column, 'the deviations from the group means of ' ~ column]) %}
{%- set _ = names.append(['center_' ~ column, 'the deviations from the grand mean of ' ~ column]) %}
{%- endfor %}
{{- mlm.refuse_equal_names(names, 'centered') }}
select
  *
  {%- for column in columns %},
  {{ mlm.between(column, group) }} as {{ mlm.identifier('between_' ~ column) }},
  {{ mlm.within(column, group) }} as {{ mlm.identifier('within_' ~ column) }},
  {{ mlm.center(column) }} as {{ mlm.identifier('center_' ~ column) }}
  {%- endfor %}
from {{ relation }}
{%- if complete %}
where {{ mlm.in_group(group) }}{{ ' and ' ~ mlm.complete(complete) if complete }}
{%- endif %}
{% endmacro %}
