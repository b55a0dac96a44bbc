"""Each ill of the proxy, seen from both ends of a link."""

import contextlib
import socket
import struct
import threading
import time

import pytest
from chaos.proxy import Proxy


@pytest.fixture
def server():
    """Run a server that sends everything back, and return its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener):
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(link,), daemon=True).start()


def _echo(link):
    with link, contextlib.suppress(OSError):
        while piece := link.recv(2**16):
            link.sendall(piece)


@pytest.fixture
def proxy(server):
    with Proxy(("127.0.0.1", server)) as running:
        yield running


@pytest.fixture
def dial(proxy):
    """Return the function that opens a link through the proxy."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), timeout=10))


def _ask(link, question=b"hello"):
    link.sendall(question)
    return _read(link, len(question))


def _read(link, size):
    got = b""
    while len(got) < size and (piece := link.recv(size - len(got))):
        got += piece
    return got


def _seconds(action):
    began = time.monotonic()
    action()
    return time.monotonic() - began


def _is_silent(link):
    link.settimeout(0.3)
    try:
        link.recv(1)
    except TimeoutError:
        return True
    finally:
        link.settimeout(10)
    return False


def test_a_healthy_link_passes_everything_both_ways(dial):
    question = bytes(range(256)) * 4096
    link = dial()
    sending = threading.Thread(target=link.sendall, args=(question,))
    sending.start()
    assert _read(link, len(question)) == question
    sending.join()


def test_a_close_is_passed_on(dial):
    link = dial()
    assert _ask(link) == b"hello"
    link.shutdown(socket.SHUT_WR)
    assert link.recv(1) == b""


def test_latency_holds_up_each_way(proxy, dial):
    proxy.ail(latency_seconds=0.2)
    link = dial()
    assert _seconds(lambda: _ask(link)) >= 0.4


def test_a_narrow_link_takes_its_time(proxy, dial):
    proxy.ail(bytes_per_second=10_000)
    link = dial()
    assert _seconds(lambda: _ask(link, b"x" * 2000)) >= 0.4


def test_a_link_that_is_down_refuses_the_new_and_resets_the_old(proxy, dial):
    link = dial()
    _ask(link)
    proxy.ail(down=True)
    with pytest.raises(ConnectionRefusedError):
        dial()
    with pytest.raises(ConnectionResetError):
        link.recv(1)
    proxy.heal()
    assert _ask(dial()) == b"hello"


def test_a_hole_swallows_everything_and_gives_it_back_when_it_heals(proxy, dial):
    old = dial()
    _ask(old)
    proxy.ail(hole=True)
    new = dial()
    for link in (old, new):
        link.sendall(b"lost?")
        assert _is_silent(link)
    proxy.heal()
    assert _read(old, 5) == b"lost?"
    assert _read(new, 5) == b"lost?"


@pytest.mark.parametrize("answers", [b"", b"lost"], ids=["idle", "with an answer on its way"])
@pytest.mark.parametrize("with_reset", [False, True], ids=["closed", "reset"])
def test_a_server_that_ends_in_a_hole_leaves_a_link_that_is_half_open(answers, with_reset):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Proxy(listener.getsockname()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as link,
    ):
        server, _ = listener.accept()
        link.sendall(b"hello")
        assert _read(server, 5) == b"hello"
        proxy.ail(hole=True)
        server.sendall(answers)
        if with_reset:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        assert _is_silent(link)
        proxy.heal()
        assert _is_silent(link)
        link.sendall(b"anybody?")
        with pytest.raises(ConnectionResetError):
            link.recv(1)


def test_a_reset_ends_what_is_open_and_lets_the_next_in(proxy, dial):
    link = dial()
    _ask(link)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        link.recv(1)
    assert _ask(dial()) == b"hello"


def test_a_slow_close_is_heard_late(proxy, dial):
    proxy.ail(slow_close_seconds=0.2)
    link = dial()
    _ask(link)
    link.shutdown(socket.SHUT_WR)
    assert _seconds(lambda: link.recv(1)) >= 0.4


def test_a_link_with_a_time_is_closed_after_it(proxy, dial):
    proxy.ail(timeout_seconds=0.3)
    link = dial()
    _ask(link)
    assert _seconds(lambda: link.recv(1)) >= 0.1


def test_slices_arrive_whole_and_one_by_one(proxy, dial):
    proxy.ail(slice_bytes=1, latency_seconds=0.01)
    link = dial()
    link.sendall(b"0123456789")
    first = link.recv(10)
    assert len(first) < 10
    assert first + _read(link, 10 - len(first)) == b"0123456789"


def test_a_limit_cuts_the_answer_off(proxy, dial):
    proxy.ail(limit_bytes=7)
    link = dial()
    link.sendall(b"0123456789")
    assert _read(link, 10) == b"0123456"


def test_an_answer_stands_in_for_the_server(proxy, dial):
    proxy.ail(answer=b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    link = dial()
    link.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert link.recv(100).startswith(b"HTTP/1.1 503")
    assert link.recv(1) == b""


def test_what_comes_back_can_be_altered(proxy, dial):
    proxy.ail(alter=bytes.upper)
    assert _ask(dial()) == b"HELLO"


def test_a_unix_socket_can_be_behind_it(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with Proxy(tmp_path / "s") as proxy, socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as link:
            server, _ = listener.accept()
            with server:
                server.sendall(b"greetings")
                assert _read(link, 9) == b"greetings"


def test_a_server_that_is_not_there_ends_the_link(dial, proxy, server):
    proxy._target = ("127.0.0.1", 1)
    with contextlib.suppress(ConnectionResetError):
        assert dial().recv(1) == b""
