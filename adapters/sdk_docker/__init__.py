"""The `docker` target: endpoints and training jobs as hardened containers of a Docker Engine."""

from .adapter import DockerAdapter
from .options import DockerOptions

__all__ = ["DockerAdapter", "DockerOptions"]
