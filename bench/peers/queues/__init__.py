"""Job queues that people use instead, each set up as its own documentation says for jobs that must not be lost.

The job is the same for all: `bench.steps.do_steps`. Each `_app` module is what a queue's workers load; RQ's need none.
"""
