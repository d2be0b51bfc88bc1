//! An upstream error, read leniently: what it says, and how long it asks one to wait (`protocol.md` 7).
