"""Reading and comparing answers of mathematics; nothing here runs what a text says."""
