{# A SELECT of one result table of a model, fitted in DuckDB by the plugin mlm_ops.plugins.dbt: a row a coefficient, or with
   `table` another of the tables. formula: such as 'y ~ within(x) + (within(x) | g)', or level equations; relation: the rows,
   or with form='moments' a table that `group_moments` has made; the other arguments are the options of `mlm_ops.fit`.
   The relation goes into the query as a text, whatever its own quotes: dbt writes a sub-select for `--sample`. #}
{% macro fit(formula, relation, table='fixed_effects', levels=none, estimator=none, df=none, weights=none, residual=none,
             covariance=none, robust=none, cluster=none, form=none) %}
  {{- return(adapter.dispatch('fit', 'mlm')(
    formula, relation, table, levels, estimator, df, weights, residual, covariance, robust, cluster, form)) -}}
{% endmacro %}

{% macro default__fit(formula, relation, table='fixed_effects', levels=none, estimator=none, df=none, weights=none,
                      residual=none, covariance=none, robust=none, cluster=none, form=none) -%}
  {#- not while dbt parses, which reads models too that are disabled for this target -#}
  {%- if execute -%}
  {{ exceptions.raise_compiler_error(
    "Models are fitted in DuckDB, by dbt-duckdb. Got another warehouse in mlm.fit(); make a table of moments here by "
    ~ "mlm.group_moments(), and fit that where DuckDB is.") }}
  {%- endif -%}
{%- endmacro %}

{% macro duckdb__fit(formula, relation, table='fixed_effects', levels=none, estimator=none, df=none, weights=none,
                     residual=none, covariance=none, robust=none, cluster=none, form=none) -%}
  {%- set functions = {
    'fixed_effects': 'mlm',
    'variance_components': 'mlm_variance_components',
    'random_effects': 'mlm_random_effects',
    'fit_statistics': 'mlm_fit_statistics',
    'models': 'mlm_equations'} -%}
  {{- mlm.required('fit', {'formula': formula, 'relation': relation}) -}}
  {#- the config of a model is whole when it runs -#}
  {%- set kept = model.config.materialized if model is defined and model.resource_type == 'model' else 'table' -%}
  {%- if kept in ['view', 'ephemeral'] and (execute is undefined or execute) -%}
    {{ exceptions.raise_compiler_error(
      "mlm.fit() would fit again whenever the " ~ kept ~ " is read, where only dbt knows how. Write "
      ~ "{{ config(materialized='table') }} above it.") }}
  {%- endif -%}
  {%- if table not in functions -%}
    {{ exceptions.raise_compiler_error(
      "mlm.fit() gives one of the tables " ~ functions | join(', ') ~ ". Got '" ~ table ~ "'.") }}
  {%- endif -%}
  {%- if covariance is not none and covariance is not mapping -%}
    {{ exceptions.raise_compiler_error(
      "mlm.fit() takes covariance= by grouping factor, as in {'school': 'diagonal'}. Got '" ~ covariance ~ "'.") }}
  {%- endif -%}
  select * from {{ functions[table] }}(
    {{ mlm.literal(formula) }},
    {{ mlm.literal(relation) }}
    {%- if levels is not none %},
    levels := [{% for level in ([levels] if levels is string else levels) %}{{ mlm.literal(level) }}{{ ', ' if not loop.last }}{% endfor %}]
    {%- endif %}
    {%- if covariance is not none %},
    covariance := map {
      {%- for name, structure in covariance.items() %}
      {{ mlm.literal(name) }}: {{ mlm.literal(structure | string) }}{{ ',' if not loop.last }}
      {%- endfor %}
    }
    {%- endif %}
    {%- for name, value in [
      ['estimator', estimator], ['df', df], ['weights', weights], ['residual', residual], ['robust', robust],
      ['cluster', cluster], ['form', form]] if value is not none %},
    {{ name }} := {{ mlm.literal(value) }}
    {%- endfor %}
  )
{%- endmacro %}
