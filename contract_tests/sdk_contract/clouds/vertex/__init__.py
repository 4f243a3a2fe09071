"""A mini cloud that speaks the REST API of Vertex AI: unmodified google-cloud-aiplatform works with it, over REST."""

from .cloud import VertexCloud

__all__ = ["VertexCloud"]
