"""Pure values and rules: the standard library and pydantic alone."""
