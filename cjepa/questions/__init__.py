"""Questions about what happens on a table of bodies, in the format of CLEVRER, and readers that answer them."""
