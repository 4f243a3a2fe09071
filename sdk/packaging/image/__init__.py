"""Container images built without a daemon: the same inputs give the same image, layer by layer."""
