{{ config(
  materialized='incremental',
  incremental_strategy='microbatch',
  event_time='day',
  batch_size='day',
  begin='2026-03-01',
  unique_key=['day', 'school'] if target.type == 'postgres' else none
) }}
{{ mlm.group_moments(ref('daily_scores'), ['mathach', 'ses'], ['day', 'school']) }}
