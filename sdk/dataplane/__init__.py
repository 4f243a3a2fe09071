"""The data plane: encodes the input, sends it over pooled connections, sends it again where that is safe.

The same code serves every platform; an adapter only names the address and signs the request
(:class:`~sdk.adapter.Invoker`).
"""
