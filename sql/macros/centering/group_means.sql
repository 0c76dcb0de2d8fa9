{# One row per group: its keys, its number of rows n and the means of columns as mean_<column>. Only rows that have a value
   in every column of `complete` count; by default each mean is over all rows that have a value of its column. #}
{% macro group_means(relation, columns, group, complete=none) %}
  {{- return(adapter.dispatch('group_means', 'mlm')(relation, columns, group, complete)) -}}
{% endmacro %}

{% macro default__group_means(relation, columns, group, complete=none) %}
{{- mlm.required('group_means', {'relation': relation, 'columns': columns, 'group': group}) }}
{%- set columns = [columns] if columns is string else columns %}
{%- set names = [] %}
{%- for key in ([group] if group is string else group) %}
{%- set _ = names.append([key, "the group's column " ~ key]) %}
{%- endfor %}
{%- set _ = names.append(['n', "the groups' sizes"]) %}
{%- for column in columns %}
{%- set _ = names.append(['mean_' ~ column, 'the mean of ' ~ column]) %}
{%- endfor %}
{{- mlm.refuse_equal_names(names, 'group_means') }}
select
  {{ mlm.group_columns(group) }},
  count(*) as n
  {%- for column in columns %},
  avg({{ mlm.value(column) }}) as {{ mlm.identifier('mean_' ~ column) }}
  {%- endfor %}
from {{ relation }}
where {{ mlm.in_group(group) }}{{ ' and ' ~ mlm.complete(complete) if complete }}
group by {{ mlm.group_columns(group) }}
{% endmacro %}
