"""Output for people: the live console, plain lines and experiment trackers."""
