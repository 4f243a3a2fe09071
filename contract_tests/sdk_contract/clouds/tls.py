"""TLS for mini clouds whose clients require it: a certificate authority and a server certificate, made on demand."""

from __future__ import annotations

import ssl
from pathlib import Path

from sdk.util.private import write_private


class Tls:
    """A certificate authority and a certificate for loopback, kept in a folder.

    Args:
        folder: For ``ca.pem``, which clients have to trust, and the server's key.
        hosts: Names and addresses by which the server is reached.

    Attributes:
        ca_file: The authority's certificate.
        context: The server's TLS context.

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
