"""Who is measured: Belayed, the bare limits and the peers, each a folder with its program and its settings."""
