"""What schemathesis is told of this API beyond its document: ids that exist, and how to use idempotency keys.

Loaded by the ``schemathesis`` command (`security.test_openapi`), which is given as JSON: ``EXPLORED_IDS``, what is
there by the name of its parameter, and ``EXPLORED_KEYS``, the ids of the keys that are needed to the end.
"""

import itertools
import json
import os
from typing import Any

import schemathesis

_IDS: dict[str, str] = json.loads(os.environ.get("EXPLORED_IDS", "{}"))
_KEYS: list[str] = json.loads(os.environ.get("EXPLORED_KEYS", "[]"))
_numbers = itertools.count()


@schemathesis.hook
def before_call(_context: Any, case: Any, **_kwargs: Any) -> None:
    """Give requests that are meant to be good what the document cannot tell.

    Every second one that reads or acts upon one resource names one that is there, instead of an id out of thin air. An
    idempotency key is used once: with another request it is refused, as the contract says, but schemathesis would take
    that for the refusal of good data. The key that asks is not revoked.
    """
    parameters = case.path_parameters or {}
    if parameters.get("key_id") in _KEYS:
        parameters["key_id"] = "key_0"
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    number = next(_numbers)
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"explored-{os.getpid()}-{number}"
    # The stateful phase goes from a resource to the next by itself.
    if number % 2 and case.method != "DELETE" and case.meta.phase.name != "stateful":
        parameters.update({name: _IDS[name] for name in _IDS.keys() & parameters.keys()})
