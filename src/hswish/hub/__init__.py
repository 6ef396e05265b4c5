"""Where files come from that are not on this disk: downloads, verified and kept in a cache. No torch."""
