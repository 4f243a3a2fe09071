"""The `vertex` target: endpoints and training jobs on Google Vertex AI."""

from .adapter import VertexAdapter
from .options import VertexOptions

__all__ = ["VertexAdapter", "VertexOptions"]
