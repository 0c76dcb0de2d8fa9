{{ mlm.centered(ref('hostile'), ['a "b";c', 'select', "naïve 'x' -- y"], 'group') }}
