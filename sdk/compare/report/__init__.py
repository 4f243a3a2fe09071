"""The report of a comparison: ``text`` for terminals and Markdown, ``page`` for HTML, ``charts`` for its charts."""
