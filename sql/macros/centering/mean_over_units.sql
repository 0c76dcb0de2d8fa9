{# The mean of the units' means of a column, each unit counted once: over all units, or over those in a row's group.
   It is a subquery because a window function cannot contain another; its columns have names that no table has. #}
{% macro mean_over_units(column, units, relation, group=[], complete=none) %}
  {{- return(adapter.dispatch('mean_over_units', 'mlm')(column, units, relation, group, complete)) -}}
{% endmacro %}

{% macro default__mean_over_units(column, units, relation, group=[], complete=none) -%}
  {%- if relation is none -%}
  {{ exceptions.raise_compiler_error(
    "A mean over units reads the rows once more: give relation=, which the model selects from. Got over='" ~ units ~ "' alone.") }}
  {%- endif -%}
  {%- set group = [group] if group is string else group -%}
  {%- set all_keys = group + ([units] if units is string else units) | reject('in', group) | list -%}
  (
    select avg(unit_means.mlm_unit_mean)
    from (
      select
        {%- for name in group %}
        {{ mlm.identifier(name) }} as mlm_group_{{ loop.index0 }},
        {%- endfor %}
        avg({{ mlm.value(column, complete) }}) as mlm_unit_mean
      from {{ relation }}
      where {{ mlm.in_group(all_keys) }}
      group by {{ mlm.group_columns(all_keys) }}
    ) as unit_means
    {%- for name in group %}
    {{ 'where' if loop.first else 'and' }} unit_means.mlm_group_{{ loop.index0 }} = {{ mlm.identifier(name) }}
    {%- endfor %}
  )
{%- endmacro %}
