"""What proxies say of a request, believed of those alone that the operator trusts."""

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")
_NEVER = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PREFIX", "HTTP_X_REAL_IP")


class TrustedProxies:
    """An application whose requests are those of the client, also behind proxies.

    Of ``X-Forwarded-For`` the last address that is no trusted proxy counts: what stands before it anybody may have
    written. From whoever is not trusted, all such headers are taken away, so that nobody further in believes them.

    Args:
        application: The application behind it.
        networks: Where the trusted proxies are.
    """

    def __init__(self, application: WSGIApplication, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._application = application
        self._networks = networks

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        chain, scheme, host = (environ.pop(name, "") for name in _FORWARDED)
        for name in _NEVER:
            environ.pop(name, None)
        if self._trusts(environ.get("REMOTE_ADDR", "")):
            self._believe(environ, chain, scheme, host)
        return self._application(environ, start_response)

    def _believe(self, environ: WSGIEnvironment, chain: str, scheme: str, host: str) -> None:
        environ["REMOTE_ADDR"] = self._find_client(environ["REMOTE_ADDR"], chain)
        if (last := _last(scheme)) in ("http", "https"):
            environ["wsgi.url_scheme"] = last
        if last := _last(host):
            environ["HTTP_HOST"] = last

    def _find_client(self, nearest: str, chain: str) -> str:
        for address in reversed([part.strip() for part in chain.split(",")]):
            if not _is_address(address):
                break
            nearest = address
            if not self._trusts(address):
                break
        return nearest

    def _trusts(self, address: str) -> bool:
        return _is_address(address) and any(ipaddress.ip_address(address) in network for network in self._networks)


def _last(values: str) -> str:
    return values.rsplit(",", 1)[-1].strip()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
