"""The stream in the words of others: one encode function each, and `outlets`, which sends what they make."""
