"""The server's code in the process of a test: what it answers for a bundle, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sdk.dataplane.payload import EncodingRules, bodies
from sdk.serving import bundle, codecs, flavours
from sdk.serving.awaited import iterated
from sdk.serving.columns import axes
from sdk.serving.jsontext import encode_json
from sdk.serving.outputs import Outputs
from sdk.serving.settings import ServerLimits

if TYPE_CHECKING:
    from sdk.packaging.model import Model


def served(model: Model, inputs: Any) -> Any:
    """The predictions for whatever `predict` takes, by way of the body that the client would send."""
    assert model.signature is not None
    rules = EncodingRules(limit=10_000_000, missing=bool(model.signature.inputs), axes=axes(model.signature))
    (body,) = bodies(inputs, rules)
    return posted(model, body.content)


def posted(model: Model, body: Any) -> Any:
    """The predictions for a JSON body, given as bytes or as its instances."""
    assert model.path is not None
    loaded = bundle.read(model.path)
    content = body if isinstance(body, bytes) else msgspec.json.encode({"instances": body})
    given = codecs.decode_instances(content, loaded.manifest.signature, ServerLimits())
    outputs = flavours.load(loaded)(given)
    if outputs.items is not None:
        outputs = Outputs(free=[msgspec.json.decode(encode_json(one)) for one in iterated(outputs.items)])
    answer = codecs.encode_predictions(outputs)
    return msgspec.json.decode(answer.body)["predictions"]
