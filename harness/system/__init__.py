"""The machine: hardware, resource errors, secrets and the import guard."""
