"""Tells a comparison: ``text`` for terminals and Markdown, ``page`` as an HTML file, ``charts`` what is drawn there."""
