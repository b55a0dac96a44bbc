"""What the embedded start says when it cannot go on."""

from core.errors import LenetError


class StartError(LenetError):
    """The platform cannot be started as things are.

    The detail is one line for the person at the console of this machine, so it may name paths.
    """

    code = "start_failed"


class KeepsDyingError(LenetError):
    """A process dies at once whenever it is started; the detail ends with the last lines of its log."""

    code = "process_keeps_dying"
