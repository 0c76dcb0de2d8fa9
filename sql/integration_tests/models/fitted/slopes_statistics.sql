{{ config(materialized='view') }}
select n_obs, log_likelihood from mlm_fit_statistics(
  'mathach ~ within(ses) + (within(ses) | school)',
  {{ mlm.literal("(select * from " ~ ref("students_centered") ~ " where sector = 'Public')") }}
)
