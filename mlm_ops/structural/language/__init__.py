"""Read structural models: lavaan's syntax and ready lines into a model, its parameter table and its groups of rows."""
