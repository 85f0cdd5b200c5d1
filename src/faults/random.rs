//! Faults that nobody thought of.
