"""The scenarios, one a file: a docstring that says what is shown and what is not, and `measure`."""
