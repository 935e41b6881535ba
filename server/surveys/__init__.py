"""One question to several streams at once, here and at other servers."""
