"""What lasts: the formats, and who may write them. Imports nothing else of this project."""
