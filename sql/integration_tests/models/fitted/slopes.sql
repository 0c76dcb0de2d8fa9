-- the plugin mlm_ops.plugins.dbt makes mlm() known
select * from mlm(
  'mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)',
  '{{ ref("students_centered") }}',
  df := 'kenward-roger'
)
