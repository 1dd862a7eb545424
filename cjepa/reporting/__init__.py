"""Records, tables, figures, videos and HTML of what others measured."""
