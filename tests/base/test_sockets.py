"""Lines on which much is sent at once."""

from __future__ import annotations

import socket

from covey.base.sockets import widen


def test_a_unix_socket_takes_more_than_usual_before_anybody_reads() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        usual = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        widen(one)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > usual


def test_tcp_is_left_to_itself() -> None:
    with socket.socket(socket.AF_INET) as line:
        usual = line.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        widen(line)
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == usual
