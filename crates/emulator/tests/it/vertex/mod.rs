//! Vertex AI: what it refuses, and its answers.

mod access;
mod bodies;
mod generate;
mod resources;
