"""Dramatiq on Redis as it comes: messages are acknowledged when done, and retried."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.steps import do_steps

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"]))
work = dramatiq.actor(do_steps)
