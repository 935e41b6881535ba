"""Any door: calls and connections about a stream that another server owns are passed on to it."""
