"""Processes that do what may hang, crash or eat memory, and can be killed for it."""
