"""Big tables and long loads, for Belayed alone."""
