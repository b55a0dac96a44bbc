"""Several hosts on one machine: network namespaces at one switch, each of which can be cut off and healed.

::

    with Network(["services", "first", "second"]) as network:
        network.hosts["first"].inside          # what to put before a command to run it there
        network.cut("first", silently=True)    # packets vanish, as behind a router that died
        network.heal("first")

The tests' own namespace is at the switch too, so that they reach every host. Each namespace is held by a process that
does nothing and dies with the tests: when it ends, the kernel takes the namespace and its cables away. Nothing has a
name in the file system that could be left behind.
"""

import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.processes import until

# The kernel's word is known once the line is read; the programs come with every Debian but for `ip` (iproute2).
_HOLD = 'hostname "$0" && echo held && exec sleep infinity'
_PROGRAMS = ("ip", "nsenter", "unshare", "setpriv", "hostname")
# The tests' end of their cable; 198.18.0.0/15 is set aside for tests of networks.
_OWN = 254
_SWITCH = "switch"
# Connections that are asked for or waited for, in the kernel's numbers of states.
_NOT_MADE = ("02", "0A")
_ORPHAN_RETRIES = "/proc/sys/net/ipv4/tcp_orphan_retries"

_End = tuple[str, int]
"""An address and a port."""


@dataclass(frozen=True)
class Host:
    """One namespace: its own interface ``cable`` with ``address``, and its own host name."""

    name: str
    number: int
    address: str
    holder: "subprocess.Popen[str]"

    @property
    def inside(self) -> list[str]:
        """Return what runs the command that follows it on this host."""
        return ["nsenter", "--target", str(self.holder.pid), "--net", "--uts", "--"]

    def listens(self, port: int) -> bool:
        """Return whether anybody listens on one of its ports."""
        try:
            with socket.create_connection((self.address, port), timeout=1):
                return True
        except OSError:
            return False

    def connections(self) -> set[tuple[_End, _End]]:
        """Return the own and the other end of each TCP connection that its kernel knows of."""
        return {(own, other) for own, other, _ in self._connections()}

    def awaits_answer(self, other: _End) -> bool:
        """Return whether its kernel has bytes for another end that this has not said to have got."""
        return any(count for _, end, count in self._connections() if end == other)

    def _connections(self) -> Iterator[tuple[_End, _End, int]]:
        """Yield each TCP connection's own and other end, and how many bytes are under way to the latter."""
        for line in Path(f"/proc/{self.holder.pid}/net/tcp").read_text().splitlines()[1:]:
            _, own, other, state, queues, *_ = line.split()
            if state not in _NOT_MADE:
                yield _parse_end(own), _parse_end(other), int(queues.partition(":")[0], 16)

    @property
    def identity(self) -> int:
        """Return the number by which the kernel knows the namespace."""
        return Path(f"/proc/{self.holder.pid}/ns/net").stat().st_ino


def why_none() -> str | None:
    """Return why no namespaces can be made here, or ``None`` where they can."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"several hosts need {', '.join(missing)}"
    # A cable between two namespaces needs the right to make both, and a kernel that has virtual cables and switches.
    script = "ip link add switch type bridge && ip link add one type veth peer name two"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "sh", "-c", script], check=False, capture_output=True, text=True
    )
    return None if tried.returncode == 0 else f"network namespaces cannot be made here: {tried.stderr.strip()}"


class Network:
    """Hosts at one switch. Everything goes at the end of the block, and is waited for."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._net = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
        self._own = f"chaos{secrets.token_hex(4)}"
        self._stack = ExitStack()
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._switch = self._hold(stack, _SWITCH, 0)
            self._run(self._switch, f"link add {_SWITCH} type bridge")
            self._run(self._switch, f"link set {_SWITCH} up")
            for number, name in enumerate(self._names, start=1):
                host = self.hosts[name] = self._hold(stack, name, number)
                self._plug_in(host)
            self._plug_tests_in()
            for host in self.hosts.values():
                self._make_known(host)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        until(lambda: self._own not in _interfaces(), "the end of the network", 20)

    def cut(self, name: str, *, silently: bool) -> None:
        """Cut a host off: ``silently`` packets vanish on their way, else its own interface goes down."""
        if silently:
            self._run(self._switch, f"link set {_port(self.hosts[name])} nomaster")
        else:
            self._run(self.hosts[name], "link set cable down")

    def heal(self, name: str) -> None:
        """Undo `cut`."""
        self._run(self.hosts[name], "link set cable up")
        self._run(self._switch, f"link set {_port(self.hosts[name])} master {_SWITCH}")

    @contextmanager
    def forgetting(self, name: str) -> Iterator[None]:
        """Have a host's kernel forget what a dead program leaves unsaid after a second, not after two minutes.

        Whoever cannot be reached that long never learns that his connection is over.
        """
        self._set_orphan_retries(self.hosts[name], 1)
        try:
            yield
        finally:
            self._set_orphan_retries(self.hosts[name], 0)

    @staticmethod
    def _set_orphan_retries(host: Host, count: int) -> None:
        subprocess.run([*host.inside, "sh", "-c", f"echo {count} >{_ORPHAN_RETRIES}"], check=True)

    def _hold(self, stack: ExitStack, name: str, number: int) -> Host:
        holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", "sh", "-c", _HOLD, name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        stack.callback(_end, holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        host = Host(name, number, f"{self._net}.{number}", holder)
        self._run(host, "link set lo up")
        return host

    def _plug_in(self, host: Host) -> None:
        """Lay a cable from a host to the switch."""
        port = _port(host)
        cable = f"link add {port} type veth peer name cable address {_hardware(host)} netns {host.holder.pid}"
        self._run(self._switch, cable)
        self._run(self._switch, f"link set {port} master {_SWITCH} up")
        self._run(host, f"address add {host.address}/24 dev cable")
        self._run(host, "link set cable up")

    def _plug_tests_in(self) -> None:
        pid = self._switch.holder.pid
        self._run(None, f"link add {self._own} type veth peer name tests netns {pid}")
        self._run(self._switch, f"link set tests master {_SWITCH} up")
        self._run(None, f"address add {self._net}.{_OWN}/24 dev {self._own}")
        self._run(None, f"link set {self._own} up")

    def _make_known(self, host: Host) -> None:
        """Tell a host where the others are: one that is cut off in silence must not learn it from unanswered calls."""
        for other in self.hosts.values():
            if other is not host:
                self._run(host, f"neighbour replace {other.address} lladdr {_hardware(other)} dev cable nud permanent")

    @staticmethod
    def _run(host: Host | None, words: str) -> None:
        """Run ``ip`` on a host; ``None``: on the tests' own."""
        command = [*(host.inside if host else ()), "ip", *words.split()]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _parse_end(end: str) -> _End:
    """Parse an end as the kernel writes it: ``0100007F:1F90`` is port 8080 of 127.0.0.1."""
    address, port = end.split(":")
    return socket.inet_ntoa(int(address, 16).to_bytes(4, sys.byteorder)), int(port, 16)


def _port(host: Host) -> str:
    return f"port{host.number}"


def _hardware(host: Host) -> str:
    return f"02:00:00:00:00:{host.number:02x}"


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _end(holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.communicate()
