{{ mlm.fit(
  'mathach ~ within(ses) + between(ses) + (within(ses) | school)',
  ref('score_moments_total'),
  form='moments'
) }}
