"""``python -m chaos.faulty_worker train``: the worker as it is, with trainers that are slow and may be ill.

With ``CHAOS_CLOCK`` its clock is wrong (`chaos.wrong_clock`). With ``CHAOS_CREDULOUS`` it believes in its lease
whatever happens, so that it goes on writing until it is refused.
"""

if __name__ == "__main__":  # trainers import this file too, and need none of it
    import os
    from collections.abc import Callable
    from contextlib import AbstractContextManager, nullcontext

    from chaos import wrong_clock

    wrong_clock.install()  # before whoever keeps a name of the right one

    import worker.host
    import worker.trainer
    from worker.__main__ import main

    class CredulousLease(worker.host.Lease):
        """A lease that never finds itself lost."""

        def check(self) -> None:
            """Find nothing."""

        def ending(self, end: Callable[[], object]) -> AbstractContextManager[None]:
            """End nothing."""
            return nullcontext()

    worker.trainer.PRELOAD = "chaos.trainer_faults"
    if os.environ.get("CHAOS_CREDULOUS"):
        worker.host.Lease = CredulousLease
    main()
