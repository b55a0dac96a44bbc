"""``python -m chaos.faulty_worker train``: the worker as it is, with trainers that are slow and may be ill."""

if __name__ == "__main__":  # trainers import this file too, and need none of it
    import worker.trainer
    from worker.__main__ import main

    worker.trainer.PRELOAD = "chaos.trainer_faults"
    main()
