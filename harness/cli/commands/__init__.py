"""Commands of `harness`, one a module: parsing is done, these do and print."""
