"""One file of routes for each resource. A route is parse, call, answer."""
