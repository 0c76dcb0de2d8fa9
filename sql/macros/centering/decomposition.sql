{# One row per variable: how much of it varies within groups and how much between, by one-way random-effects ANOVA, as the
   table `decomposition` of mlm_ops has it: variable, group, n_obs, n_units, mean, total_variance, within_variance (mean
   square within), between_variance ((MSB - MSW) / n0, zero where negative), icc, reliability (of the group means, as the
   mean over groups). Only rows that have a value in all columns, and in those of `complete`, count.
   Snijders and Bosker (2012), sections 3.3.1 and 3.5; Raudenbush and Bryk (2002), eq. 4.10. #}
{% macro decomposition(relation, columns, group, complete=none) %}
  {{- return(adapter.dispatch('decomposition', 'mlm')(relation, columns, group, complete)) -}}
{% endmacro %}

{% macro default__decomposition(relation, columns, group, complete=none) %}
{{- mlm.required('decomposition', {'relation': relation, 'columns': columns, 'group': group}) }}
{%- set columns = [columns] if columns is string else columns %}
{%- set group_name = group if group is string else group | join(':') %}
{%- set keys = [group] if group is string else group %}
{#- numbered, so that long names do not make longer ones #}
{%- set units, variables = [], [] %}
{%- set rows %}
(
    select
      {%- for key in keys %}
      {%- set _ = units.append('mlm_unit_' ~ loop.index0) %}
      {{ mlm.identifier(key) }} as {{ mlm.identifier(units[-1]) }},
      {%- endfor %}
      {%- for column in columns %}
      {%- set _ = variables.append('mlm_x' ~ loop.index0) %}
      {{ mlm.identifier(column) }} as {{ mlm.identifier(variables[-1]) }}{{ ',' if not loop.last }}
      {%- endfor %}
    from {{ relation }}
    {%- if complete %}
    where {{ mlm.complete(complete) }}
    {%- endif %}
  ) as mlm_named
{%- endset %}
with mlm_units as (
  {{ mlm.group_moments(rows, variables, units) }}
),
mlm_variables as (
  {%- for column in columns %}
  {%- set variable = variables[loop.index0] %}
  select
    {{ mlm.literal(column) }} as variable,
    n,
    {{ mlm.identifier('center_' ~ variable) }} as mean,
    {{ mlm.identifier('mean_' ~ variable) }} - {{ mlm.identifier('center_' ~ variable) }} as deviation,
    {{ mlm.identifier('scatter_' ~ variable ~ '_' ~ variable) }} as scatter
  from mlm_units
  {{ 'union all' if not loop.last }}
  {%- endfor %}
),
mlm_sums as (
  select
    variable,
    sum(n) as n_obs,
    count(*) as n_units,
    min(mean) as mean,
    sum(case when scatter > 0 then scatter else 0 end) as inside,
    sum(n * deviation * deviation) as across_units,
    sum(n * n) as squared_sizes
  from mlm_variables
  group by variable
  having count(*) > 1
),
mlm_within as (
  select
    *,
    case when n_obs > n_units then inside / nullif(n_obs - n_units, 0) else 0 end as within_variance,
    (n_obs - squared_sizes / n_obs) / (n_units - 1) as unit_size
  from mlm_sums
),
mlm_anova as (
  select
    *,
    case
      when across_units / (n_units - 1) > within_variance
        then (across_units / (n_units - 1) - within_variance) / unit_size
      else 0
    end as between_variance
  from mlm_within
),
mlm_reliabilities as (
  select
    mlm_variables.variable,
    avg(between_variance / nullif(between_variance + within_variance / mlm_variables.n, 0)) as reliability
  from mlm_variables
  join mlm_anova on mlm_anova.variable = mlm_variables.variable
  group by mlm_variables.variable
)
select
  mlm_anova.variable,
  {{ mlm.literal(group_name) }} as {{ mlm.identifier('group') }},
  n_obs,
  n_units,
  mean,
  (inside + across_units) / (n_obs - 1) as total_variance,
  within_variance,
  between_variance,
  between_variance / nullif(between_variance + within_variance, 0) as icc,
  reliability
from mlm_anova
join mlm_reliabilities on mlm_reliabilities.variable = mlm_anova.variable
{% endmacro %}
