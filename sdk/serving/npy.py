"""`application/x-npy` bodies, read without `np.load`.

`np.load` trusts the header: an 80-byte body can make it allocate terabytes, and object arrays are pickles. This
reader accepts only plain numeric and text arrays whose size agrees with the bytes that follow.
"""

from __future__ import annotations

import math
import re
import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from .failures import RequestError, bad_input

if TYPE_CHECKING:
    from .convert import Array

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[biufU]\d{1,6})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[0-9, ]{0,400})\), ?\} *\n?"
)
_MAX_HEADER = 4096
_MAX_NDIM = 32


def decode(body: bytes) -> Array:
    """Return the array in a .npy body.

    Raises:
        RequestError: 400 if the body is not a .npy file, or has an unknown version, objects, or a wrong length.
    """
    if body[:6] != _MAGIC or len(body) < 10:
        raise _bad("the body does not start like a .npy file")
    wide = body[6] != 1
    if body[6] not in {1, 2, 3} or (wide and len(body) < 12):
        raise _bad(f"version {body[6]} of the .npy format is unknown")
    (length,) = struct.unpack_from("<I" if wide else "<H", body, 8)
    start = 12 if wide else 10
    if length > _MAX_HEADER or start + length > len(body):
        raise _bad("the header is longer than the body or than 4096 bytes")
    found = _HEADER.fullmatch(body[start : start + length])
    if found is None:
        raise _bad("the header is not that of a plain boolean, integer, float or text array")
    return _array(body, start + length, found)


def _array(body: bytes, start: int, found: re.Match[bytes]) -> Array:
    dtype = _dtype(found["descr"].decode())
    shape = tuple(int(size) for size in found["shape"].replace(b",", b" ").split())
    if dtype.itemsize == 0:
        raise _bad("text of width 0 holds no value")
    if len(shape) > _MAX_NDIM:
        raise _bad(f"{len(shape)} dimensions are more than {_MAX_NDIM}")
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(body) - start:
        raise _bad(f"shape {list(shape)} of {dtype} needs {expected} bytes, {len(body) - start} follow the header")
    if 0 in shape:
        raise bad_input("empty", f"the array has shape {list(shape)} and so holds no value", "body")
    flat = _checked(np.frombuffer(body, dtype=dtype, offset=start))
    return flat.reshape(shape[::-1]).T if found["fortran"] == b"True" else flat.reshape(shape)


def _dtype(descr: str) -> np.dtype[Any]:
    try:
        return np.dtype(descr)
    except TypeError:
        raise _bad(f"dtype {descr!r} is unknown") from None


def _checked(flat: Array) -> Array:
    if flat.dtype.kind == "b" and flat.view(np.uint8).max(initial=0) > 1:
        raise _bad("a boolean is neither 0 nor 1")
    if flat.dtype.kind != "U":
        return flat.astype(flat.dtype.newbyteorder("="), copy=False)
    codes = flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder))
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
        raise _bad("the text holds characters that do not exist")  # numpy would fail on them later, with a worse error
    return np.asarray(flat.tolist(), dtype=object)


def encode(array: Array) -> bytes:
    """Encode `array` as a .npy body; text arrays are stored with a fixed width."""
    file = BytesIO()
    if array.dtype.kind == "O":
        array = np.asarray(array.tolist(), dtype=np.str_)
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _bad(message: str) -> RequestError:
    return bad_input("bad_npy", f"cannot read the .npy body: {message}", "body")
