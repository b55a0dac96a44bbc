"""The workers: Celery processes that hold leases and write SQL, and the processes that train for them."""
