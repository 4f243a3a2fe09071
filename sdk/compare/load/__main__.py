"""The entry point of the generator's process: ``python -m sdk.compare.load``."""

from .worker import main

main()
