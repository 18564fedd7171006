"""Small games of several turns that need no other package."""
