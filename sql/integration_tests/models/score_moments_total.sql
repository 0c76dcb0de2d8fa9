{{ mlm.merge_group_moments(ref('score_moments'), ['mathach', 'ses'], 'school') }}
