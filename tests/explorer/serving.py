"""A page that is served while a test asks for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cjepa.explorer.server import App, Explorer, address_of, listen, open_server


@contextmanager
def serving(explorer: Explorer) -> Iterator[str]:
    """The address of its page."""
    with listen("127.0.0.1", 0) as listening, open_server(App(explorer), "127.0.0.1", listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield address_of(server)
        finally:
            server.shutdown()
