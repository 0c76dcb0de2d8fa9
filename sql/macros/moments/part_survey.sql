{# One row per part: its number, its rows, how many of them are complete and how many miss a value of each unit, number and
   category; of the complete ones the mean of every number and the levels of every category. Arguments as in `survey`,
   `missing`; part: an expression. #}
{% macro part_survey(relation, part, numbers, inside, categories, units, complete) %}
  {{- return(adapter.dispatch('part_survey', 'mlm')(relation, part, numbers, inside, categories, units, complete)) -}}
{% endmacro %}

{% macro default__part_survey(relation, part, numbers, inside, categories, units, complete) %}
with prepared as (
  select
    {%- for unit in units %}
    {{ unit }} as unit_{{ loop.index0 }},
    {%- endfor %}
    {%- for variable in numbers + inside + categories %}
    {{ variable.expression }} as {{ variable.alias }},
    {%- endfor %}
    case when {{ complete }} then 1 end as is_whole,
    {{ part }} as part
  from {{ relation }}
)
select
  part,
  {%- for unit in units %}
  count(*) - count(unit_{{ loop.index0 }}) as missing_unit_{{ loop.index0 }},
  {%- endfor %}
  {%- for number in numbers + inside %}
  count(*) filter (where not ({{ mlm.is_complete([number.alias]) }})) as missing_{{ number.alias }},
  {%- endfor %}
  {%- for number in numbers %}
  {{ mlm.round_to_36_bits('avg(' ~ number.alias ~ ') filter (where is_whole = 1)') }} as mean_{{ number.alias }},
  {%- endfor %}
  {%- for category in categories %}
  count(*) - count({{ category.alias }}) as missing_{{ category.alias }},
  {{ mlm.distinct_values(category.alias) }} filter (where is_whole = 1) as levels_{{ category.alias }},
  {%- endfor %}
  count(is_whole) as n_complete,
  count(*) as n_rows
from prepared
group by part
order by part
{% endmacro %}
