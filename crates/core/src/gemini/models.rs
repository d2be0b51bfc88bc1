//! Model names and the model list (`protocol.md` 6).
