{{ mlm.merge_group_moments(ref('daily_moments'), ['mathach', 'ses'], 'school') }}
