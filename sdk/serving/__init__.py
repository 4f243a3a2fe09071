"""The model server and all other code that runs inside an image.

This folder is copied into images and local environments under the name `mlport_serving`; it therefore uses relative
imports only, imports nothing from the rest of `sdk`, and needs only uvicorn, uvloop, httptools, msgspec and numpy.
"""
