{{ mlm.fit(
  'mathach ~ ses + (ses | school)',
  ref('students_centered'),
  table='variance_components',
  levels='school',
  estimator='ml',
  covariance={'school': 'diagonal'}
) }}
