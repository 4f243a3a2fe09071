"""TLS for mini clouds whose clients insist on it: an own authority and a server certificate, made when needed."""

from __future__ import annotations

import ssl
from pathlib import Path

from sdk.private import write_private


class Tls:
    """An authority of its own and a certificate for loopback, kept in a folder.

    Args:
        folder: For ``ca.pem``, which clients are told to trust, and the server's own key.
        hosts: Names and addresses that the server is reached by.

    Attributes:
        ca_file: The authority's certificate.
        context: For the server.

    Example:
        >>> Server(app, tls=Tls(folder)).url  # doctest: +SKIP
        'https://127.0.0.1:40123'
    """

    def __init__(self, folder: Path, hosts: tuple[str, ...] = ("127.0.0.1", "localhost")) -> None:
        import trustme

        authority = trustme.CA()
        self.ca_file = Path(folder) / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key_file = Path(folder) / "server.pem"
        write_private(key_file, authority.issue_cert(*hosts).private_key_and_cert_chain_pem.bytes())
        self.context.load_cert_chain(str(key_file))
