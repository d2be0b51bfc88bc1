//! Which access token to use, and whose turn it is to refresh it.
