"""Use cases as functions. They take a session and ports, and never commit: the request or the task does, once."""
