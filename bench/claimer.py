"""``python -m bench.claimer --database URL --at MOMENT``: claims jobs as a worker does until none waits.

It begins at a moment of the system's monotonic clock, so that several begin together, and answers with one line of
JSON: how many it claimed, and when it was done.
"""

import argparse
import json
import time

from core.db.engine import open_engine, open_sessions, transaction
from core.services.claims import claim_job

_LEASE_SECONDS = 30.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--at", type=float, required=True)
    options = parser.parse_args()
    sessions = open_sessions(open_engine(options.database))
    with transaction(sessions, read_only=True):
        pass  # The connection is there before the clock runs.
    time.sleep(max(0.0, options.at - time.monotonic()))
    claims, claimed = 0, True
    while claimed:
        with transaction(sessions) as session:
            claimed = claim_job(session, worker="claimer", device="cpu", lease_seconds=_LEASE_SECONDS) is not None
        claims += claimed
    print(json.dumps({"claims": claims, "ended_at": time.monotonic()}))


if __name__ == "__main__":
    main()
