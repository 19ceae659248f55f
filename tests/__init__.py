"""The tests. A package, so that no other package called tests, of which the world is full, hides it."""
