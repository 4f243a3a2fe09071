"""Objects that S3 does not delete: DeleteObjects then still answers 200, and names them in its body.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html (Errors)
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, unescape

if TYPE_CHECKING:
    from ..app import Request, Response

_OBJECT = re.compile(rb"<Object>.*?</Object>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)


class Locked:
    """The objects that cannot be deleted.

    Attributes:
        codes: The error of each key, such as ``AccessDenied`` of an object under a legal hold.
    """

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}

    def without(self, operation: str, request: Request) -> tuple[Request, list[str]]:
        """Return the request without the locked objects, and the keys of these."""
        if operation != "DeleteObjects" or not self.codes:
            return request, []
        held: list[str] = []

        def keep(match: re.Match[bytes]) -> bytes:
            found = _KEY.search(match[0])
            key = unescape(found[1].decode()) if found else ""
            if key not in self.codes:
                return match[0]
            held.append(key)
            return b""

        body = _OBJECT.sub(keep, request.body)
        headers = {**request.headers, "content-length": str(len(body))}
        return replace(request, content=io.BytesIO(body), headers=headers), held

    def named(self, answer: Response, held: list[str]) -> Response:
        """Return the answer with errors for the objects that were not deleted."""
        if not held:
            return answer
        errors = "".join(
            f"<Error><Key>{escape(key)}</Key><Code>{self.codes[key]}</Code><Message>Access Denied</Message></Error>"
            for key in held
        )
        body = answer.body if isinstance(answer.body, bytes) else b""
        end = b"</DeleteResult>"
        if end not in body:
            body = b'<?xml version="1.0" encoding="UTF-8"?><DeleteResult>' + end
        return replace(answer, status=200, body=body.replace(end, errors.encode() + end))
