"""Shared parts of adapters: the endpoint behind mlport's own gateway, and small checks that every platform needs.

An adapter whose endpoints are behind this gateway (:mod:`sdk.serving.gateway`) uses these modules to plan, read back,
call and measure them. It adds only how and where its workloads run. Nothing here makes a call.
"""
