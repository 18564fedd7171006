"""Worlds that live elsewhere: in another interpreter, or behind a server's socket."""
