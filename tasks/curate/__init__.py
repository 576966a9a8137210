"""What is kept: language, quality, duplicates, and which documents are held out."""
