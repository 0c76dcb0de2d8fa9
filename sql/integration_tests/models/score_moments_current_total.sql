{{ mlm.merge_group_moments(ref('score_moments_current'), ['mathach', 'ses'], 'school') }}
