"""Code that several adapters use: endpoints behind mlport's gateway, checks, jobs' inputs and uploads, mini clouds.

An adapter whose endpoints are behind this gateway (:mod:`sdk.serving.gateway`) uses these modules to plan, read back,
call and measure them. It adds only how and where its workloads run.
"""
