"""Tokenizers to compare with, one file each."""
