"""Numbers of things, as people write them."""


def number_of(count: int, thing: str) -> str:
    """``1 episode``, ``2 episodes``, ``1,200 env steps``.

    Args:
        count: how many there are.
        thing: one of them; its plural ends with an s.
    """
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
