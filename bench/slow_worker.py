"""``python -m bench.slow_worker``: the worker that trains, as it is, with trainers that are slow and write steps down.

See `bench.slow_trainer`, which the server that trainers are forked from loads in place of its own preload.
"""

if __name__ == "__main__":  # trainers import this file too, and need none of it
    import sys

    import worker.trainer
    from worker.__main__ import main

    worker.trainer.PRELOAD = "bench.slow_trainer"
    sys.argv[1:] = ["train"]
    main()
