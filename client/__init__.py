"""The platform from Python and from the shell: it speaks HTTP and imports nothing of the server."""
