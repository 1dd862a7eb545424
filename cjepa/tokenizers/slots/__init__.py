"""The slot tokenizer of this project."""
