"""An mlport adapter for Shelf, a platform small enough to read in one sitting."""

from .adapter import ShelfAdapter

__all__ = ["ShelfAdapter"]
