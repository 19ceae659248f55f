"""The example with favorites in a real browser, with its web server and its workers."""
