"""Where a server listens, and the address that is printed for it."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from inference.api.listener import address_of, listen

needs_both = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6 and IPv4")


def reaches(host: str, port: int) -> bool:
    """Whether a client gets through."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "printed", "v4", "v6"),
    [
        ("127.0.0.1", "127.0.0.1", True, False),
        ("0.0.0.0", "localhost", True, False),
        pytest.param("::1", "[::1]", False, True, marks=needs_both),
        pytest.param("::", "localhost", True, True, marks=needs_both),
        pytest.param("0:0::0", "localhost", True, True, marks=needs_both),
    ],
)
def test_an_address_that_is_printed_can_be_opened(
    host: str, printed: str, v4: bool, v6: bool
) -> None:
    with closing(listen(host, 0)) as listening:
        port = listening.getsockname()[1]
        assert address_of(listening) == f"http://{printed}:{port}"
        assert reaches(printed.strip("[]"), port)
        assert reaches("127.0.0.1", port) == v4
        assert reaches("::1", port) == v6
