"""A mini cloud that speaks Vertex AI: unmodified google-cloud-aiplatform works against it, over REST."""

from .cloud import VertexCloud

__all__ = ["VertexCloud"]
