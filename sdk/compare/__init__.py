"""The comparison of targets: measures what each costs and how fast it answers.

``load`` sends requests and times them, ``stats`` evaluates the times, ``cost`` calculates the costs, and ``report``
presents the result. ``import sdk`` does not load this package.
"""
