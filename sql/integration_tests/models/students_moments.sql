{{ mlm.group_moments(ref('hsb'), ['mathach', 'ses'], 'school', products=[['mathach', 'ses']]) }}
