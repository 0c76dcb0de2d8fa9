{{ mlm.merge_group_moments(ref('parts_moments'), ['mathach', 'ses'], constants=['sector']) }}
