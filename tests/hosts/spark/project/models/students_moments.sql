{{ mlm.group_moments(
  ref('students'),
  ['mathach', 'ses', env_var('MLM_ODD')],
  'school',
  products=[['ses', env_var('MLM_ODD')]],
  constants=['sector', 'size']
) }}
