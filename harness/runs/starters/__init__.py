"""Templates of `harness env|method|model new`, kept as code that is checked and tested.

Each file is copied with its names replaced; nothing here is used by the harness itself.
"""
