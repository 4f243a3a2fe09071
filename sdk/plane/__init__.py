"""What adapters share: the endpoint that our own gateway serves, and the small checks every platform needs.

An adapter whose endpoints stand behind our gateway (:mod:`sdk.serving.gateway`) plans, reads back, calls and measures
them with these modules and adds only where its workloads run. Nothing here makes a call.
"""
