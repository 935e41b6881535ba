"""Where diaries are kept, and how their words are found."""
