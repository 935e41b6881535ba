"""Sources that the server opens by itself."""
