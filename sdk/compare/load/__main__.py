"""``python -m sdk.compare.load``: the generator's process."""

from .worker import main

main()
