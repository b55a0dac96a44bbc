"""The platform's rules and ports: knows nothing of Flask or Celery."""
