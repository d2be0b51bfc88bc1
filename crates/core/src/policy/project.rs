//! Whose turn it is to discover the project.
