"""Marks that are wrong, each in its way: the harness must say so."""

unexpected: int = "no mark here"
missing: int = 1  # error
other_code: int = "another error than the mark says"  # error: mypy=arg-type pyright=reportCallIssue
only_mypy: int = "pyright reports it, too"  # error: mypy=assignment
right: int = "this one is right"  # error: mypy=assignment pyright=reportAssignmentType
