{# One row per partition: its number of rows, and a checksum of their values that does not depend on their order. With
   `complete` also how many rows are complete, and of these the mean of every number, the smallest and largest value of those
   with `ranged`, and the levels of every category. Other arguments as in `survey`; partition: an expression, whose text is
   written for each partition only: of a date it would cost three times as much as all else. #}
{% macro partition_facts(relation, partition, numbers, categories, units, complete=none) %}
  {{- return(adapter.dispatch('partition_facts', 'mlm')(relation, partition, numbers, categories, units, complete)) -}}
{% endmacro %}

{% macro default__partition_facts(relation, partition, numbers, categories, units, complete=none) %}
with prepared as (
  select
    {%- for unit in units %}
    {{ unit }} as unit_{{ loop.index0 }},
    {%- endfor %}
    {%- for variable in numbers + categories %}
    {{ variable.expression }} as {{ variable.alias }},
    {%- endfor %}
    {%- if complete %}
    case when {{ complete }} then 1 end as is_whole,
    {%- endif %}
    {{ partition }} as part
  from {{ relation }}
),
facts as (
  select
    part,
    {%- if complete %}
    {%- for number in numbers %}
    avg({{ number.alias }}) filter (where is_whole = 1) as mean_{{ number.alias }},
    {%- if number.ranged %}
    min({{ number.alias }}) filter (where is_whole = 1) as min_{{ number.alias }},
    max({{ number.alias }}) filter (where is_whole = 1) as max_{{ number.alias }},
    {%- endif %}
    {%- endfor %}
    {%- for category in categories %}
    {{ mlm.distinct_values(category.alias) }} filter (where is_whole = 1) as levels_{{ category.alias }},
    {%- endfor %}
    count(is_whole) as n_complete,
    {%- endif %}
    sum(hash(
      {%- for unit in units %}unit_{{ loop.index0 }}, {% endfor %}
      {%- for number in numbers %}{{ number.alias }}, {% endfor %}
      {%- for category in categories %}{{ category.alias }}, {% endfor %}0)) as fingerprint,
    count(*) as n_rows
  from prepared
  group by part
)
select
  {{ mlm.text('part') }} as part,
  {%- if complete %}
  {%- for number in numbers %}
  mean_{{ number.alias }},
  {%- if number.ranged %}
  min_{{ number.alias }},
  max_{{ number.alias }},
  {%- endif %}
  {%- endfor %}
  {%- for category in categories %}
  levels_{{ category.alias }},
  {%- endfor %}
  n_complete,
  {%- endif %}
  fingerprint,
  n_rows
from facts
order by 1
{% endmacro %}
