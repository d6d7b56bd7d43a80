"""Numbers measured on rendered views, with the protocol that decides each of them."""
