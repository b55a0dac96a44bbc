"""The HTTP service: it parses, calls a service of core, commits, sends what must be sent, and answers."""
