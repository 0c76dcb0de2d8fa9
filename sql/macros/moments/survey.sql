{# One row with what is needed before the moments: how many rows there are and how many are complete; the grand mean of
   every number; the levels of every category; and, from the first rows, which of them look constant within the units
   (`moments` confirms or refutes it), and which numbers are not the same in all rows.
   numbers: list of {alias, expression, ranged}; those with `ranged` get their smallest and largest value too (`ranges`
   finds it for the others, where needed); categories: list of {alias, expression}; units: list of expressions;
   probe_rows: how many are the first rows, of none of which nothing is said. #}
{% macro survey(relation, numbers, categories, units, complete, probe_rows=20000) %}
  {{- return(adapter.dispatch('survey', 'mlm')(relation, numbers, categories, units, complete, probe_rows)) -}}
{% endmacro %}

{% macro default__survey(relation, numbers, categories, units, complete, probe_rows=20000) %}
with present as (
  select count(*) as n_rows
  from {{ relation }}
),
totals as (
  select
    count(*) as n_complete
    {%- for number in numbers %},
    {{ mlm.round_to_36_bits('avg(' ~ number.expression ~ ')') }} as mean_{{ number.alias }}
    {%- if number.ranged %},
    min({{ number.expression }}) as min_{{ number.alias }},
    max({{ number.expression }}) as max_{{ number.alias }}
    {%- endif %}
    {%- endfor %}
    {%- for category in categories %},
    {{ mlm.distinct_values(category.expression) }} as levels_{{ category.alias }}
    {%- endfor %}
  from {{ relation }}
  where {{ complete }}
)
{%- if probe_rows %},
first_rows as (
  select
    {%- for unit in units %}
    {{ unit }} as u_{{ loop.index0 }},
    {%- endfor %}
    {%- for variable in numbers + categories %}
    {{ variable.expression }} as {{ variable.alias }},
    {%- endfor %}
    1 as one
  from {{ relation }}
  where {{ complete }}
  limit {{ probe_rows }}
),
first_units as (
  select
    {%- for variable in numbers + categories %}
    min({{ variable.alias }}) as low_{{ variable.alias }},
    max({{ variable.alias }}) as high_{{ variable.alias }},
    {%- endfor %}
    count(*) as n
  from first_rows
  {%- if units %}
  group by {% for unit in units %}u_{{ loop.index0 }}{{ ', ' if not loop.last }}{% endfor %}
  {%- endif %}
),
probe as (
  select
    {%- for variable in numbers + categories %}
    max(case when low_{{ variable.alias }} < high_{{ variable.alias }} then 1 else 0 end) as varies_{{ variable.alias }},
    {%- endfor %}
    {%- for number in numbers %}
    {#- a difference in the last digits may be rounding, which the number's range decides #}
    case
      when max(high_{{ number.alias }}) - min(low_{{ number.alias }})
        > 1e-13 * (abs(max(high_{{ number.alias }})) + abs(min(low_{{ number.alias }})))
        then 1
      else 0
    end as differs_{{ number.alias }},
    {%- endfor %}
    count(*) as n_units_probed
  from first_units
)
{%- endif %}
select * from present cross join totals
{{- ' cross join probe' if probe_rows }}
{% endmacro %}
