{{ config(event_time='day') }}
-- Rows of three days
select school, mathach, ses, cast('2026-03-01' as date) as day from {{ ref('hsb') }} where minority = 0
union all
select school, mathach, ses, cast('2026-03-02' as date) as day from {{ ref('hsb') }} where minority = 1 and female = 0
union all
select school, mathach, ses, cast('2026-03-03' as date) as day from {{ ref('hsb') }} where minority = 1 and female = 1
