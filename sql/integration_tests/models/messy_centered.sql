{{ mlm.centered(ref('messy'), ['is_female', 'minority', 'minutes_of_mathematics_at_home_in_a_week'], 'school', complete=['sex']) }}
