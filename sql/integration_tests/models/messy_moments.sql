{{ mlm.group_moments(
  ref('messy'),
  ['mathach', 'ses', 'minority', 'is_female', 'a "b";c'],
  'school',
  products=[['ses', 'is_female']],
  complete=['sex'],
  constants=['is_public', 'size']
) }}
