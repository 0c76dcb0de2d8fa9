{{ config(materialized='table') }}
-- the plugin mlm_ops.plugins.dbt fits it in DuckDB
{{ mlm.fit(
  'mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)',
  ref('students_centered'),
  df='kenward-roger'
) }}
