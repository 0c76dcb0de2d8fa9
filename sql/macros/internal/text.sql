{# An expression of any type as text: the name of a unit, a level of a factor, a stratum or a partition. It is the
   warehouse's own text except for three kinds of values: NaN is null, as it counts as missing; -0.0 is 0.0, to which it
   is equal; and a time with a zone is written in UTC, because its text would otherwise depend on the session. #}
{% macro text(expression) %}
  {{- return(adapter.dispatch('text', 'mlm')(expression)) -}}
{% endmacro %}

{% macro default__text(expression) -%}
  cast({{ expression }} as {{ dbt.type_string() }})
{%- endmacro %}

{#- typeof() of a column is known before the query runs, so that DuckDB removes all branches but one #}
{% macro duckdb__text(expression) -%}
  case
    when typeof({{ expression }}) in ('DOUBLE', 'FLOAT') then
      case cast({{ expression }} as varchar)
        when 'nan' then null when '-nan' then null when '-0.0' then '0.0' else cast({{ expression }} as varchar) end
    when typeof({{ expression }}) = 'TIMESTAMP WITH TIME ZONE' then
      coalesce(
        cast(make_timestamp(epoch_us(try_cast({{ expression }} as timestamptz))) as varchar) || '+00',
        cast({{ expression }} as varchar))
    else cast({{ expression }} as varchar)
  end
{%- endmacro %}
