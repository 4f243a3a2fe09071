"""The model server and everything else that runs inside an image.

This folder is copied into images and local environments under the name `mlport_serving`; it therefore uses relative
imports only, imports nothing from the rest of `sdk`, and needs uvicorn, uvloop, httptools, msgspec and numpy alone.
"""
