"""Tools that an environment offers to a model: definitions, calls and servers."""
