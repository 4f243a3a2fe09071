"""Models as immutable folders: bundle, signature, dependency lock, environments and archives."""
