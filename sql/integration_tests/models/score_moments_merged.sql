{{ config(materialized='incremental', incremental_strategy='merge', unique_key=['part', 'school']) }}
-- Where there is no delete+insert: a school that a part has lost keeps its row, with the time of an earlier load
{% set changed %}
(
  select * from {{ ref('scores') }}
  {% if is_incremental() %}
  where part in (select part from {{ ref('scores') }} where loaded > (select max(loaded) from {{ this }}))
  {% endif %}
) as changed
{% endset %}
with moments as (
  {{ mlm.group_moments(changed, ['mathach', 'ses'], ['part', 'school']) }}
),
loads as (
  select part as loaded_part, max(loaded) as loaded
  from {{ ref('scores') }}
  group by part
)
select moments.*, loads.loaded, '{{ invocation_id }}' as built_by
from moments
join loads on loads.loaded_part = moments.part
