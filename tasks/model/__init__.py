"""The decoder: its configuration, its layers, and its Hugging Face form."""
