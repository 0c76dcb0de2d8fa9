{{ mlm.group_moments(ref('hsb'), ['mathach', 'ses'], 'school', constants=['sector', 'size']) }}
