{{ mlm.group_means(ref('messy'), ['is_female', 'ses'], ['school', 'is_public']) }}
