{# One row per partition: its number of rows, how many miss a value of each unit, number and category, and a checksum of
   their values that does not depend on their order. Arguments as in `survey`; partition: an expression. #}
{% macro partition_facts(relation, partition, numbers, categories, units) %}
  {{- return(adapter.dispatch('partition_facts', 'mlm')(relation, partition, numbers, categories, units)) -}}
{% endmacro %}

{% macro default__partition_facts(relation, partition, numbers, categories, units) %}
with prepared as (
  select
    {%- for unit in units %}
    {{ unit }} as unit_{{ loop.index0 }},
    {%- endfor %}
    {%- for number in numbers %}
    {{ number.expression }} as {{ number.alias }},
    {%- endfor %}
    {%- for category in categories %}
    {{ category.expression }} as {{ category.alias }},
    {%- endfor %}
    {{ partition }} as part
  from {{ relation }}
),
facts as (
  select
    part,
    {%- for unit in units %}
    count(*) - count(unit_{{ loop.index0 }}) as missing_unit_{{ loop.index0 }},
    {%- endfor %}
    {%- for number in numbers %}
    count(*) filter (where not ({{ mlm.is_complete([number.alias]) }})) as missing_{{ number.alias }},
    {%- endfor %}
    {%- for category in categories %}
    count(*) - count({{ category.alias }}) as missing_{{ category.alias }},
    {%- endfor %}
    sum(hash(
      {%- for unit in units %}unit_{{ loop.index0 }}, {% endfor %}
      {%- for number in numbers %}{{ number.alias }}, {% endfor %}
      {%- for category in categories %}{{ category.alias }}, {% endfor %}0)) as fingerprint,
    count(*) as n_rows
  from prepared
  group by part
)
select * from facts
order by part
{% endmacro %}
