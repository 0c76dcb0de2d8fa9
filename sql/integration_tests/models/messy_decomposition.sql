{{ mlm.decomposition(
  ref('messy'), ['mathach', 'is_female', 'minutes_of_mathematics_at_home_in_a_week'], ['school', 'is_public'], complete=['sex']
) }}
