"""People → bytes → subscribers."""
