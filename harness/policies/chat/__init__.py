"""Chat templates: from conversations to token ids."""
