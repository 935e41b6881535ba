"""When to speak: plug-in rules that look at one clip after another, and never ahead."""
