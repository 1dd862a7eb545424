"""The local web page of `cjepa explore`: what it asks, what it is answered, and the server between."""
