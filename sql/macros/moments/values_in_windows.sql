{# The distinct values of a column in windows of time, as text, with the key of the window. relation: the rows; kept: a
   SELECT of further values and their texts, or none; windows: for each a list of its key, start and end, as expressions;
   first, past: start and end of all windows. #}
{% macro values_in_windows(relation, column, kept, windows, first, past) %}
  {{- return(adapter.dispatch('values_in_windows', 'mlm')(relation, column, kept, windows, first, past)) -}}
{% endmacro %}

{% macro default__values_in_windows(relation, column, kept, windows, first, past) %}
with held as (
  select distinct {{ column }} as value, {{ mlm.text(column) }} as part
  from {{ relation }}
  where {{ column }} >= {{ first }} and {{ column }} < {{ past }}
  {%- if kept %}
  union
  {{ kept }}
  {%- endif %}
),
windows as (
  select *
  from (
    values
    {%- for window in windows %}
    ({{ window | join(', ') }}){{ ',' if not loop.last }}
    {%- endfor %}
  ) as listed (window_key, first, past)
),
found as (
  select windows.window_key, held.part, held.value
  from held
  join windows on held.value >= windows.first and held.value < windows.past
)
select window_key, part from found
order by value
{% endmacro %}
