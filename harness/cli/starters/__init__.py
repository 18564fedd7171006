"""What `harness env new` and `harness method new` write, kept as code that is checked and tested.

Each file is copied with its names replaced; nothing here is used by the harness itself.
"""
