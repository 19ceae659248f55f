"""An engine derived from Django's, as hosts have them: its path does not say of which database it is."""
