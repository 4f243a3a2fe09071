"""Compare targets: what each costs and how fast it answers, measured.

``load`` sends requests and times them, ``stats`` says what the times show, ``cost`` what they are worth, ``report``
tells it. Nothing here is loaded by ``import sdk``.
"""
