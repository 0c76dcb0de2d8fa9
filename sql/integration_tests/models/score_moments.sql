{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='part') }}
-- Moments by part: a run reads the parts that have been loaded anew, and replaces theirs alone
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
